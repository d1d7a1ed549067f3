// Gradient of attention by the queries, each lane owning $ROWS of them: with P the probabilities and delta = rowsum(g o),
//   dS = P (g vT - delta), dq = scale dS k.
// P is computed again from the log-sum-exp. stats holds the log-sum-exp of every query
// and after it room for delta, which is left there for the keys' kernel (one buffer: adapters may offer no more than eight). Keys are fetched as in attention.wgsl.
@group(0) @binding($next) var<storage, read> g: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> q: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> k: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> v: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> o: array<vec4<$T>>;
//#if MASK
@group(0) @binding($next) var<storage, read> mask: array<u32>;
//#endif
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
  let baseG = p.atG.w + batch * p.atG.x + head * p.atG.y;
  let baseQ = p.atQ.w + batch * p.atQ.x + head * p.atQ.y;
  let baseK = p.atK.w + batch * p.atK.x + head * p.atK.y;
  let baseV = p.atV.w + batch * p.atV.x + head * p.atV.y;
  let baseO = p.atO.w + batch * p.atO.x + head * p.atO.y;
//#repeat i ROWS
  let token$i = min(first + ${i}u, p.queries - 1u);
  let z$i = stats[pair * p.queries + token$i] * 1.44269504;
  var delta$i = 0.0;
//#repeat c D4
  let q${i}_$c = vec4<f32>(q[baseQ + token$i * p.atQ.z + ${c}u]) * (p.scale * 1.44269504);
  var d${i}_$c = vec4<f32>();
//#end
//#repeat c V4
  let g${i}_$c = vec4<f32>(g[baseG + token$i * p.atG.z + ${c}u]);
  delta$i += dot(g${i}_$c, vec4<f32>(o[baseO + token$i * p.atO.z + ${c}u]));
//#end
//#end
//#if CAUSAL
  let end = min(p.keys, (wid.x + 1u) * ${WG * ROWS}u);
//#else
  let end = p.keys;
//#endif
//#if SUBGROUP
  for (var tile = 0u; tile < end; tile += ${WG}u) {
    let mine = min(tile + lid, p.keys - 1u);
//#repeat c D4
    let k$c = vec4<f32>(k[baseK + mine * p.atK.z + ${c}u]);
//#end
//#repeat c V4
    let v$c = vec4<f32>(v[baseV + mine * p.atV.z + ${c}u]);
//#end
//#if MASK
    let shown = mask[p.atMask + batch * p.keys + mine];
//#endif
    let inside = min(end - tile, ${WG}u);
    for (var s = 0u; s < inside; s += 2u) {
      let j = tile + s;
//#else
    for (var j = 0u; j < end; j += 2u) {
//#endif
//#repeat u 2
      var on$u = j + ${u}u < p.keys;
//#if SUBGROUP
//#if MASK
      on$u = on$u && subgroupShuffle(shown, s + ${u}u) != 0u;
//#endif
//#repeat c D4
      let k${u}_$c = subgroupShuffle(k$c, s + ${u}u);
//#end
//#repeat c V4
      let v${u}_$c = subgroupShuffle(v$c, s + ${u}u);
//#end
//#else
      let j$u = min(j + ${u}u, p.keys - 1u);
//#if MASK
      on$u = on$u && mask[p.atMask + batch * p.keys + j$u] != 0u;
//#endif
//#repeat c D4
      let k${u}_$c = vec4<f32>(k[baseK + j$u * p.atK.z + ${c}u]);
//#end
//#repeat c V4
      let v${u}_$c = vec4<f32>(v[baseV + j$u * p.atV.z + ${c}u]);
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
//#if CAUSAL
      let e${i}_$u = select(0.0, exp2(s${i}_$u) * t${i}_$u, on$u && j + ${u}u <= first + ${i}u);
//#else
      let e${i}_$u = select(0.0, exp2(s${i}_$u) * t${i}_$u, on$u);
//#endif
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
  if (first + ${i}u < p.queries) {
    let at = ((batch * p.queries + first + ${i}u) * p.heads + head) * ${D4}u;
//#repeat c D4
    dq[at + ${c}u] = vec4<$T>(d${i}_$c * p.scale);
//#end
    stats[p.pairs * p.queries + pair * p.queries + first + ${i}u] = delta$i;
  }
//#end
}
