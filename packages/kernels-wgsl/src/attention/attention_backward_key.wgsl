// Gradients of attention by keys and values, each lane owning $ROWS of them and running over the queries: dv = PT g, dk = scale dST q, with P, dS and
// delta as in attention_backward_query.wgsl. Queries are fetched as keys are there; the order of additions is that of the queries.
@group(0) @binding($next) var<storage, read> g: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> q: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> k: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> v: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> stats: array<f32>;
@group(0) @binding($next) var<storage, read> mask: array<u32>;
@group(0) @binding($next) var<storage, read_write> dk: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read_write> dv: array<vec4<$T>>;
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
  if (first >= p.keys) {
    return;
  }
//#endif
  // Added to a query's place, it sees all keys.
  let ahead = select(p.keys, 0u, p.causal != 0u);
  let baseG = p.atG.w + batch * p.atG.x + head * p.atG.y;
  let baseQ = p.atQ.w + batch * p.atQ.x + head * p.atQ.y;
  let baseK = p.atK.w + batch * p.atK.x + head * p.atK.y;
  let baseV = p.atV.w + batch * p.atV.x + head * p.atV.y;
  var rows: array<vec4<f32>, ${ROWS * D4}>;
  var values: array<vec4<f32>, ${ROWS * V4}>;
  for (var i = 0u; i < p.rows; i++) {
    let token = min(first + i, p.keys - 1u);
    for (var c = 0u; c < p.chunks; c++) {
      rows[i * ${D4}u + c] = vec4<f32>(k[baseK + token * p.atK.z + c]);
    }
    for (var c = 0u; c < p.valueChunks; c++) {
      values[i * ${V4}u + c] = vec4<f32>(v[baseV + token * p.atV.z + c]);
    }
  }
//#repeat i ROWS
  let shown$i = p.masked == 0u || mask[p.atMask + batch * p.keys + min(first + ${i}u, p.keys - 1u)] != 0u;
//#repeat c D4
  let k${i}_$c = rows[${i * D4 + c}] * (p.scale * 1.44269504);
  var dk${i}_$c = vec4<f32>();
//#end
//#repeat c V4
  let v${i}_$c = values[${i * V4 + c}] * p.scale;
  var dv${i}_$c = vec4<f32>();
//#end
//#end
  let begin = select(0u, min(wid.x * ${WG * ROWS}u, p.queries), p.causal != 0u);
//#if ROLLED
  var qs: array<vec4<f32>, ${FETCHED * D4}>;
  var gs: array<vec4<f32>, ${FETCHED * V4}>;
//#endif
//#if SUBGROUP
  for (var tile = begin; tile < p.queries; tile += ${WG}u) {
    let mine = min(tile + lid, p.queries - 1u);
//#if ROLLED
    for (var c = 0u; c < p.chunks; c++) {
      qs[c] = vec4<f32>(q[baseQ + mine * p.atQ.z + c]);
    }
    for (var c = 0u; c < p.valueChunks; c++) {
      gs[c] = vec4<f32>(g[baseG + mine * p.atG.z + c]);
    }
//#repeat c D4
    let q$c = qs[$c];
//#end
//#repeat c V4
    let g$c = gs[$c];
//#end
//#else
//#repeat c D4
    let q$c = vec4<f32>(q[baseQ + mine * p.atQ.z + ${c}u]);
//#end
//#repeat c V4
    let g$c = vec4<f32>(g[baseG + mine * p.atG.z + ${c}u]);
//#end
//#endif
    let z = stats[pair * p.queries + mine] * 1.44269504;
    let distance = stats[(p.pairs + pair) * p.queries + mine];
    let inside = min(p.queries - tile, ${WG}u);
    for (var s = 0u; s < inside; s += 2u) {
      let j = tile + s;
//#else
    for (var j = begin; j < p.queries; j += 2u) {
//#if ROLLED
      for (var u = 0u; u < 2u; u++) {
        let at = min(j + u, p.queries - 1u);
        for (var c = 0u; c < p.chunks; c++) {
          qs[u * ${D4}u + c] = vec4<f32>(q[baseQ + at * p.atQ.z + c]);
        }
        for (var c = 0u; c < p.valueChunks; c++) {
          gs[u * ${V4}u + c] = vec4<f32>(g[baseG + at * p.atG.z + c]);
        }
      }
//#endif
//#endif
//#repeat u 2
      let on$u = j + ${u}u < p.queries;
//#if SUBGROUP
//#repeat c D4
      let q${u}_$c = subgroupShuffle(q$c, s + ${u}u);
//#end
//#repeat c V4
      let g${u}_$c = subgroupShuffle(g$c, s + ${u}u);
//#end
      let z$u = subgroupShuffle(z, s + ${u}u);
      let delta$u = subgroupShuffle(distance, s + ${u}u);
//#else
      let j$u = min(j + ${u}u, p.queries - 1u);
//#repeat c D4
//#if ROLLED
      let q${u}_$c = qs[${u * D4 + c}];
//#else
      let q${u}_$c = vec4<f32>(q[baseQ + j$u * p.atQ.z + ${c}u]);
//#endif
//#end
//#repeat c V4
//#if ROLLED
      let g${u}_$c = gs[${u * V4 + c}];
//#else
      let g${u}_$c = vec4<f32>(g[baseG + j$u * p.atG.z + ${c}u]);
//#endif
//#end
      let z$u = stats[pair * p.queries + j$u] * 1.44269504;
      let delta$u = stats[(p.pairs + pair) * p.queries + j$u];
//#endif
//#end
//#repeat i ROWS
//#repeat u 2
      var s${i}_$u = -z$u;
//#repeat c D4
      s${i}_$u += dot(k${i}_$c, q${u}_$c);
//#end
      var t${i}_$u = -delta$u * p.scale;
//#repeat c V4
      t${i}_$u += dot(v${i}_$c, g${u}_$c);
//#end
      let e${i}_$u = select(0.0, exp2(s${i}_$u), on$u && shown$i && first + ${i}u <= j + ${u}u + ahead);
      t${i}_$u *= e${i}_$u;
//#end
//#repeat c D4
      dk${i}_$c += t${i}_0 * q0_$c + t${i}_1 * q1_$c;
//#end
//#repeat c V4
      dv${i}_$c += e${i}_0 * g0_$c + e${i}_1 * g1_$c;
//#end
//#end
    }
//#if SUBGROUP
  }
//#endif
//#repeat i ROWS
//#repeat c D4
  rows[${i * D4 + c}] = dk${i}_$c;
//#end
//#repeat c V4
  values[${i * V4 + c}] = dv${i}_$c;
//#end
//#end
  for (var i = 0u; i < min(p.rows, max(p.keys, first) - first); i++) {
    let at = (batch * p.keys + first + i) * p.heads + head;
    for (var c = 0u; c < p.chunks; c++) {
      dk[at * ${D4}u + c] = vec4<$T>(rows[i * ${D4}u + c]);
    }
    for (var c = 0u; c < p.valueChunks; c++) {
      dv[at * ${V4}u + c] = vec4<$T>(values[i * ${V4}u + c]);
    }
  }
}
