// Gradient of attention by the queries, each lane owning $ROWS of them: with P the probabilities and delta = rowsum(g o),
//   dS = P (g vT - delta), dq = scale dS k.
// P is computed again from the log-sum-exp. stats holds the log-sum-exp of every query and after it room for delta, which is left there for the
// keys' kernel (one buffer: adapters may offer no more than eight). Rows and keys are fetched as in attention.wgsl.
@group(0) @binding($next) var<storage, read> g: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> q: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> k: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> v: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> o: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> mask: array<u32>;
@group(0) @binding($next) var<storage, read_write> dq: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read_write> stats: array<f32>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size($WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let pair = wid.z * num.y + wid.y;
  if (pair >= p.pairs) {
    return;
  }
  let batch = pair / p.heads;
  let head = pair - batch * p.heads;
  let first = wid.x * ${WG * ROWS}u + lid * ${ROWS}u;
//#if !SUBGROUP
  if (first >= p.queries) {
    return;
  }
//#endif
  let last = first + select(p.keys, 0u, p.causal != 0u);
  let baseG = p.atG.w + batch * p.atG.x + head * p.atG.y;
  let baseQ = p.atQ.w + batch * p.atQ.x + head * p.atQ.y;
  let baseK = p.atK.w + batch * p.atK.x + head * p.atK.y;
  let baseV = p.atV.w + batch * p.atV.x + head * p.atV.y;
  let baseO = p.atO.w + batch * p.atO.x + head * p.atO.y;
  var rows: array<vec4<f32>, ${ROWS * D4}>;
  var slopes: array<vec4<f32>, ${ROWS * V4}>;
  var sums: array<vec2<f32>, $ROWS>;
  for (var i = 0u; i < p.rows; i++) {
    let token = min(first + i, p.queries - 1u);
    for (var c = 0u; c < p.chunks; c++) {
      rows[i * ${D4}u + c] = vec4<f32>(q[baseQ + token * p.atQ.z + c]);
    }
    var distance = 0.0;
    for (var c = 0u; c < p.valueChunks; c++) {
      let slope = vec4<f32>(g[baseG + token * p.atG.z + c]);
      slopes[i * ${V4}u + c] = slope;
      distance += dot(slope, vec4<f32>(o[baseO + token * p.atO.z + c]));
    }
    sums[i] = vec2<f32>(stats[pair * p.queries + token] * 1.44269504, distance);
  }
//#repeat i ROWS
  let z$i = sums[$i].x;
  let delta$i = sums[$i].y * p.scale;
//#repeat c D4
  let q${i}_$c = rows[${i * D4 + c}] * (p.scale * 1.44269504);
  var d${i}_$c = vec4<f32>();
//#end
//#repeat c V4
  let g${i}_$c = slopes[${i * V4 + c}] * p.scale;
//#end
//#end
  let end = select(p.keys, min(p.keys, (wid.x + 1u) * ${WG * ROWS}u), p.causal != 0u);
//#if ROLLED
  var ks: array<vec4<f32>, ${FETCHED * D4}>;
  var vs: array<vec4<f32>, ${FETCHED * V4}>;
//#endif
//#if SUBGROUP
  for (var tile = 0u; tile < end; tile += ${WG}u) {
    let mine = min(tile + lid, p.keys - 1u);
//#if ROLLED
    for (var c = 0u; c < p.chunks; c++) {
      ks[c] = vec4<f32>(k[baseK + mine * p.atK.z + c]);
    }
    for (var c = 0u; c < p.valueChunks; c++) {
      vs[c] = vec4<f32>(v[baseV + mine * p.atV.z + c]);
    }
//#repeat c D4
    let k$c = ks[$c];
//#end
//#repeat c V4
    let v$c = vs[$c];
//#end
//#else
//#repeat c D4
    let k$c = vec4<f32>(k[baseK + mine * p.atK.z + ${c}u]);
//#end
//#repeat c V4
    let v$c = vec4<f32>(v[baseV + mine * p.atV.z + ${c}u]);
//#end
//#endif
    let shown = tile + lid < p.keys && (p.masked == 0u || mask[p.atMask + batch * p.keys + mine] != 0u);
    let inside = min(end - tile, ${WG}u);
    for (var s = 0u; s < inside; s += 2u) {
      let j = tile + s;
//#else
    for (var j = 0u; j < end; j += 2u) {
//#if ROLLED
      for (var u = 0u; u < 2u; u++) {
        let at = min(j + u, p.keys - 1u);
        for (var c = 0u; c < p.chunks; c++) {
          ks[u * ${D4}u + c] = vec4<f32>(k[baseK + at * p.atK.z + c]);
        }
        for (var c = 0u; c < p.valueChunks; c++) {
          vs[u * ${V4}u + c] = vec4<f32>(v[baseV + at * p.atV.z + c]);
        }
      }
//#endif
//#endif
//#repeat u 2
//#if SUBGROUP
      let on$u = subgroupShuffle(u32(shown), s + ${u}u) != 0u;
//#repeat c D4
      let k${u}_$c = subgroupShuffle(k$c, s + ${u}u);
//#end
//#repeat c V4
      let v${u}_$c = subgroupShuffle(v$c, s + ${u}u);
//#end
//#else
      let j$u = min(j + ${u}u, p.keys - 1u);
      let on$u = j + ${u}u < p.keys && (p.masked == 0u || mask[p.atMask + batch * p.keys + j$u] != 0u);
//#repeat c D4
//#if ROLLED
      let k${u}_$c = ks[${u * D4 + c}];
//#else
      let k${u}_$c = vec4<f32>(k[baseK + j$u * p.atK.z + ${c}u]);
//#endif
//#end
//#repeat c V4
//#if ROLLED
      let v${u}_$c = vs[${u * V4 + c}];
//#else
      let v${u}_$c = vec4<f32>(v[baseV + j$u * p.atV.z + ${c}u]);
//#endif
//#end
//#endif
//#end
//#repeat i ROWS
//#repeat u 2
      var s${i}_$u = -z$i;
//#repeat c D4
      s${i}_$u += dot(q${i}_$c, k${u}_$c);
//#end
      var t${i}_$u = -delta$i;
//#repeat c V4
      t${i}_$u += dot(g${i}_$c, v${u}_$c);
//#end
      let e${i}_$u = select(0.0, exp2(s${i}_$u) * t${i}_$u, on$u && j + ${u}u <= last + ${i}u);
//#end
//#repeat c D4
      d${i}_$c += e${i}_0 * k0_$c + e${i}_1 * k1_$c;
//#end
//#end
    }
//#if SUBGROUP
  }
//#endif
//#repeat i ROWS
//#repeat c D4
  rows[${i * D4 + c}] = d${i}_$c;
//#end
//#end
  for (var i = 0u; i < min(p.rows, max(p.queries, first) - first); i++) {
    let at = ((batch * p.queries + first + i) * p.heads + head) * ${D4}u;
    for (var c = 0u; c < p.chunks; c++) {
      dq[at + c] = vec4<$T>(rows[i * ${D4}u + c]);
    }
    stats[(p.pairs + pair) * p.queries + first + i] = sums[i].y;
  }
}
