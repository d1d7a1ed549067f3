// softmax(scale q kT) v of one head without the matrix of scores: each lane owns $ROWS queries (in registers) and runs over the keys $KEYS at a
// time with a running largest score m, sum of exponentials l and output; all in base 2, log2(e) being part of p.scale.
// SUBGROUP: a workgroup is one subgroup; its lanes fetch another key each and hand the rows round by shuffles, 0.9 ns apiece on lavapipe where a
// load of a vec4 costs 20. Without it every lane reads the same addresses, which caches serve; neither form needs a barrier.
// Rows are read and written in loops whose bounds are parameters, so that no compiler unrolls them: on software adapters a site that touches
// storage takes 10 ms to compile. In the loop over the keys that costs half the speed,
// and is done there only for heads above 64 on software adapters (ROLLED).
// Whether keys are hidden by a mask or by their place are parameters, so that all kinds of attention of one head size are one pipeline; without a mask
// any buffer is bound in its place and not read.
// p.at* = strides of batch, head and token and the offset, in vec4s. lse keeps the natural log-sum-exp of each query, huge where no key is shown.
@group(0) @binding($next) var<storage, read> q: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> k: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> v: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> mask: array<u32>;
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
  // The last key that the first query sees; past all keys where it sees all.
  let last = first + select(p.keys, 0u, p.causal != 0u);
  let baseQ = p.atQ.w + batch * p.atQ.x + head * p.atQ.y;
  let baseK = p.atK.w + batch * p.atK.x + head * p.atK.y;
  let baseV = p.atV.w + batch * p.atV.x + head * p.atV.y;
  var rows: array<vec4<f32>, ${ROWS * D4}>;
  for (var i = 0u; i < p.rows; i++) {
    let row = baseQ + min(first + i, p.queries - 1u) * p.atQ.z;
    for (var c = 0u; c < p.chunks; c++) {
      rows[i * ${D4}u + c] = vec4<f32>(q[row + c]);
    }
  }
//#repeat i ROWS
  var m$i = -1.0e30;
  var l$i = 0.0;
//#repeat c D4
  let q${i}_$c = rows[${i * D4 + c}] * p.scale;
//#end
//#repeat c V4
  var o${i}_$c = vec4<f32>();
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
    let value$c = vs[$c];
//#end
//#else
//#repeat c D4
    let k$c = vec4<f32>(k[baseK + mine * p.atK.z + ${c}u]);
//#end
//#repeat c V4
    let value$c = vec4<f32>(v[baseV + mine * p.atV.z + ${c}u]);
//#end
//#endif
    let shown = tile + lid < p.keys && (p.masked == 0u || mask[p.atMask + batch * p.keys + mine] != 0u);
    let inside = min(end - tile, ${WG}u);
    for (var s = 0u; s < inside; s += ${KEYS}u) {
      let j = tile + s;
//#else
    for (var j = 0u; j < end; j += ${KEYS}u) {
//#if ROLLED
      for (var u = 0u; u < ${KEYS}u; u++) {
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
//#repeat u KEYS
//#if SUBGROUP
      let on$u = subgroupShuffle(u32(shown), s + ${u}u) != 0u;
//#repeat c D4
      let k${u}_$c = subgroupShuffle(k$c, s + ${u}u);
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
//#endif
//#end
//#repeat i ROWS
//#repeat u KEYS
      var s${i}_$u = 0.0;
//#repeat c D4
      s${i}_$u += dot(q${i}_$c, k${u}_$c);
//#end
      s${i}_$u = select(HIDDEN, s${i}_$u, on$u && j + ${u}u <= last + ${i}u);
//#end
      var top$i = m$i;
//#repeat u KEYS
      top$i = max(top$i, s${i}_$u);
//#end
      let fade$i = exp2(m$i - top$i);
      m$i = top$i;
      l$i *= fade$i;
//#repeat u KEYS
      let e${i}_$u = exp2(s${i}_$u - top$i);
      l$i += e${i}_$u;
//#end
//#end
//#repeat c V4
      {
//#repeat u KEYS
//#if SUBGROUP
        let v$u = subgroupShuffle(value$c, s + ${u}u);
//#else
//#if ROLLED
        let v$u = vs[${u * V4 + c}];
//#else
        let v$u = vec4<f32>(v[baseV + j$u * p.atV.z + ${c}u]);
//#endif
//#endif
//#end
//#repeat i ROWS
        var sum$i = e${i}_0 * v0;
//#repeat u KEYS
//#if u
        sum$i += e${i}_$u * v$u;
//#endif
//#end
        o${i}_$c = o${i}_$c * fade$i + sum$i;
//#end
      }
//#end
    }
//#if SUBGROUP
  }
//#endif
  var results: array<vec4<f32>, ${ROWS * V4}>;
  var sums: array<f32, $ROWS>;
//#repeat i ROWS
  {
    let whole = l$i > 0.0;
    let share = select(0.0, 1.0 / l$i, whole);
    sums[$i] = select(1.0e30, m$i * 0.69314718 + log_(l$i), whole);
//#repeat c V4
    results[${i * V4 + c}] = o${i}_$c * share;
//#end
  }
//#end
  for (var i = 0u; i < min(p.rows, max(p.queries, first) - first); i++) {
    let at = ((batch * p.queries + first + i) * p.heads + head) * ${V4}u;
    for (var c = 0u; c < p.valueChunks; c++) {
      o[at + c] = vec4<$T>(results[i * ${V4}u + c]);
    }
    lse[pair * p.queries + first + i] = sums[i];
  }
}
