// softmax(scale q kT) v of one head as two matrix products by subgroup broadcast (see gemm_subgroup.wgsl): a workgroup is one subgroup of $SG lanes
// and owns $ROWS queries; it runs over the keys ${SG * 4} at a time. In the first product each lane owns four keys, so that the block of scores lies
// in registers: row r is query r, lane and component are the key. In the second each lane owns vec4s of the values' columns, and the
// exponentials are handed round straight from those registers: their block is never stored, and the second product fetches only v.
// Running maximum m, sum of exponentials l (a part in each lane and component) and output; all in base 2, log2(e) being part of p.scale.
// Mask and causality are parameters, as in attention.wgsl. p.at* = strides of batch, head and token and the offset, in vec4s. lse keeps the natural log-sum-exp of each query, huge where no key is shown.
@group(0) @binding($next) var<storage, read> q: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> k: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> v: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> mask: array<u32>;
@group(0) @binding($next) var<storage, read_write> o: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read_write> lse: array<f32>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

const HIDDEN = -3.0e38;

@compute @workgroup_size($SG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let pair = wid.z * num.y + wid.y;
  if (pair >= p.pairs) {
    return;
  }
  let batch = pair / p.heads;
  let head = pair - batch * p.heads;
  let first = wid.x * ${ROWS}u;
  let baseQ = p.atQ.w + batch * p.atQ.x + head * p.atQ.y;
  let baseK = p.atK.w + batch * p.atK.x + head * p.atK.y;
  let baseV = p.atV.w + batch * p.atV.x + head * p.atV.y;
//#repeat i QUADS
  let rowQ$i = baseQ + min(first + ${i}u * ${SG}u + lane, p.queries - 1u) * p.atQ.z;
//#end
//#repeat c V_LANE
  let column$c = min(${c}u * ${SG}u + lane, p.valueChunks - 1u);
//#end
//#repeat r ROWS
  var m$r = -1.0e30;
  var l$r = vec4<f32>();
//#repeat c V_LANE
  var o${r}_$c = vec4<f32>();
//#end
//#end
  let end = select(p.keys, min(p.keys, first + ${ROWS}u), p.causal != 0u);
  // The last key that the first query sees; past all keys where it sees all.
  let last = first + select(p.keys, 0u, p.causal != 0u);
  for (var j = 0u; j < end; j += ${SG * 4}u) {
    let key = vec4<u32>(j + lane * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    let inside = min(key, vec4<u32>(p.keys - 1u));
    let row = vec4<u32>(baseK) + inside * p.atK.z;
//#repeat r ROWS
    var s$r = vec4<f32>();
//#end
    for (var c = 0u; c < p.chunks; c++) {
//#repeat i QUADS
      let a$i = vec4<f32>(q[rowQ$i + c]);
//#end
      let n0 = vec4<f32>(k[row.x + c]);
      let n1 = vec4<f32>(k[row.y + c]);
      let n2 = vec4<f32>(k[row.z + c]);
      let n3 = vec4<f32>(k[row.w + c]);
      let b0 = vec4<f32>(n0.x, n1.x, n2.x, n3.x);
      let b1 = vec4<f32>(n0.y, n1.y, n2.y, n3.y);
      let b2 = vec4<f32>(n0.z, n1.z, n2.z, n3.z);
      let b3 = vec4<f32>(n0.w, n1.w, n2.w, n3.w);
//#repeat r ROWS
      let r$r = subgroupBroadcast(a${r / SG}, ${r % SG}u);
      s$r += r$r.x * b0 + r$r.y * b1 + r$r.z * b2 + r$r.w * b3;
//#end
    }
    var on = key < vec4<u32>(end);
    if (p.masked != 0u) {
      let at = p.atMask + batch * p.keys;
      on = on & (vec4<u32>(mask[at + inside.x], mask[at + inside.y], mask[at + inside.z], mask[at + inside.w]) != vec4<u32>());
    }
//#repeat r ROWS
    {
      let x = select(vec4<f32>(HIDDEN), s$r * p.scale, on & (key <= vec4<u32>(last + ${r}u)));
      let top = max(m$r, subgroupMax(max(max(x.x, x.y), max(x.z, x.w))));
      let fade = exp2(m$r - top);
      m$r = top;
      s$r = exp2(x - vec4<f32>(top));
      l$r = l$r * fade + s$r;
//#repeat c V_LANE
      o${r}_$c *= fade;
//#end
    }
//#end
    let steps = (min(end - j, ${SG * 4}u) + 3u) / 4u;
    for (var u = 0u; u < steps; u++) {
      let at = vec4<u32>(baseV) + min(vec4<u32>(j + u * 4u) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.keys - 1u)) * p.atV.z;
//#repeat c V_LANE
      let x$c = vec4<f32>(v[at.x + column$c]);
      let y$c = vec4<f32>(v[at.y + column$c]);
      let z$c = vec4<f32>(v[at.z + column$c]);
      let w$c = vec4<f32>(v[at.w + column$c]);
//#end
//#repeat r ROWS
      let e$r = subgroupShuffle(s$r, u);
//#repeat c V_LANE
      o${r}_$c += e$r.x * x$c + e$r.y * y$c + e$r.z * z$c + e$r.w * w$c;
//#end
//#end
    }
  }
  var results: array<vec4<f32>, ${ROWS * V_LANE}>;
  var sums: array<f32, $ROWS>;
//#repeat r ROWS
  {
    let l = subgroupAdd(l$r.x + l$r.y + l$r.z + l$r.w);
    let whole = m$r > -1.0e30 && l > 0.0;
    let share = select(0.0, 1.0 / l, whole);
    sums[$r] = select(1.0e30, m$r * 0.69314718 + log_(l), whole);
//#repeat c V_LANE
    results[${r * V_LANE + c}] = o${r}_$c * share;
//#end
  }
//#end
  for (var r = 0u; r < min(${ROWS}u, p.queries - first); r++) {
    let at = ((batch * p.queries + first + r) * p.heads + head) * p.valueChunks;
    for (var c = 0u; c < ${V_LANE}u; c++) {
      if (c * ${SG}u + lane < p.valueChunks) {
        o[at + c * ${SG}u + lane] = vec4<$T>(results[r * ${V_LANE}u + c]);
      }
    }
    if (lane == 0u) {
      lse[pair * p.queries + first + r] = sums[r];
    }
  }
}
