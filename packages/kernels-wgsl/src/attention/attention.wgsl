// softmax(scale q kT) v of one head without the matrix of scores: each lane owns $ROWS queries (in registers) and runs over the keys four at a
// time with a running largest score m, sum of exponentials l and output; all in base 2, log2(e) being part of p.scale.
// SUBGROUP: a workgroup is one subgroup; its lanes fetch another key each and hand the rows round by shuffles, 0.9 ns apiece on lavapipe where a
// load of a vec4 costs 20. Without it every lane reads the same addresses, which caches serve; neither form needs a barrier.
// p.at* = strides of batch, head and token and the offset, in vec4s. lse keeps the natural log-sum-exp of each query, huge where no key is shown.
@group(0) @binding($next) var<storage, read> q: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> k: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> v: array<vec4<$T>>;
//#if MASK
@group(0) @binding($next) var<storage, read> mask: array<u32>;
//#endif
@group(0) @binding($next) var<storage, read_write> o: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read_write> lse: array<f32>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

const HIDDEN = -3.0e38;

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
  let baseQ = p.atQ.w + batch * p.atQ.x + head * p.atQ.y;
  let baseK = p.atK.w + batch * p.atK.x + head * p.atK.y;
  let baseV = p.atV.w + batch * p.atV.x + head * p.atV.y;
//#repeat i ROWS
  let row$i = baseQ + min(first + ${i}u, p.queries - 1u) * p.atQ.z;
  var m$i = -1.0e30;
  var l$i = 0.0;
//#repeat c D4
  let q${i}_$c = vec4<f32>(q[row$i + ${c}u]) * p.scale;
//#end
//#repeat c V4
  var o${i}_$c = vec4<f32>();
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
    let value$c = vec4<f32>(v[baseV + mine * p.atV.z + ${c}u]);
//#end
//#if MASK
    let shown = mask[p.atMask + batch * p.keys + mine];
//#endif
    let inside = min(end - tile, ${WG}u);
    for (var s = 0u; s < inside; s += 4u) {
      let j = tile + s;
//#else
    for (var j = 0u; j < end; j += 4u) {
//#endif
//#repeat u 4
      var on$u = j + ${u}u < p.keys;
//#if SUBGROUP
//#if MASK
      on$u = on$u && subgroupShuffle(shown, s + ${u}u) != 0u;
//#endif
//#repeat c D4
      let k${u}_$c = subgroupShuffle(k$c, s + ${u}u);
//#end
//#else
      let j$u = min(j + ${u}u, p.keys - 1u);
//#if MASK
      on$u = on$u && mask[p.atMask + batch * p.keys + j$u] != 0u;
//#endif
//#repeat c D4
      let k${u}_$c = vec4<f32>(k[baseK + j$u * p.atK.z + ${c}u]);
//#end
//#endif
//#end
//#repeat i ROWS
//#repeat u 4
      var s${i}_$u = 0.0;
//#repeat c D4
      s${i}_$u += dot(q${i}_$c, k${u}_$c);
//#end
//#if CAUSAL
      s${i}_$u = select(HIDDEN, s${i}_$u, on$u && j + ${u}u <= first + ${i}u);
//#else
      s${i}_$u = select(HIDDEN, s${i}_$u, on$u);
//#endif
//#end
      let top$i = max(m$i, max(max(s${i}_0, s${i}_1), max(s${i}_2, s${i}_3)));
      let fade$i = exp2(m$i - top$i);
      m$i = top$i;
      let e$i = exp2(vec4<f32>(s${i}_0, s${i}_1, s${i}_2, s${i}_3) - top$i);
      l$i = l$i * fade$i + ((e$i.x + e$i.y) + (e$i.z + e$i.w));
//#end
//#repeat c V4
      {
//#if SUBGROUP
        let v0 = subgroupShuffle(value$c, s);
        let v1 = subgroupShuffle(value$c, s + 1u);
        let v2 = subgroupShuffle(value$c, s + 2u);
        let v3 = subgroupShuffle(value$c, s + 3u);
//#else
        let v0 = vec4<f32>(v[baseV + j0 * p.atV.z + ${c}u]);
        let v1 = vec4<f32>(v[baseV + j1 * p.atV.z + ${c}u]);
        let v2 = vec4<f32>(v[baseV + j2 * p.atV.z + ${c}u]);
        let v3 = vec4<f32>(v[baseV + j3 * p.atV.z + ${c}u]);
//#endif
//#repeat i ROWS
        o${i}_$c = o${i}_$c * fade$i + ((e$i.x * v0 + e$i.y * v1) + (e$i.z * v2 + e$i.w * v3));
//#end
      }
//#end
    }
//#if SUBGROUP
  }
//#endif
//#repeat i ROWS
  if (first + ${i}u < p.queries) {
    let whole = l$i > 0.0;
    let share = select(0.0, 1.0 / l$i, whole);
    let at = ((batch * p.queries + first + ${i}u) * p.heads + head) * ${V4}u;
//#repeat c V4
    o[at + ${c}u] = vec4<$T>(o${i}_$c * share);
//#end
    lse[pair * p.queries + first + ${i}u] = select(1.0e30, m$i * 0.69314718 + log_(l$i), whole);
  }
//#end
}
