// Gradients of attention by keys and values as four matrix products by subgroup broadcast, laid out as attention_gemm.wgsl's two: a workgroup is one
// subgroup and owns $ROWS keys; it runs over the queries ${SG * 4} at a time. With P the probabilities and delta = rowsum(g o),
//   dS = P (v gT - delta), dv = P g, dk = scale dS q, rows being keys and columns queries;
// P and dS lie in registers, from which the last two products take them. scale dS is also stored, for the queries' gradient: in scratch, which begins with
// what attention_delta.wgsl left, from p.window on (vec4s), a row of `width` queries for each key of the window. A window is `windowKeys` keys from
// p.firstKey on, a multiple of $ROWS, of each of `windowPairs` heads from p.firstPair on.
@group(0) @binding($next) var<storage, read> g: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> q: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> k: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> v: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> mask: array<u32>;
@group(0) @binding($next) var<storage, read_write> scratch: array<vec4<f32>>;
@group(0) @binding($next) var<storage, read_write> dk: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read_write> dv: array<vec4<$T>>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size($SG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let slot = wid.z * num.y + wid.y;
  if (slot >= p.windowPairs) {
    return;
  }
  let pair = p.firstPair + slot;
  let batch = pair / p.heads;
  let head = pair - batch * p.heads;
  let first = p.firstKey + wid.x * ${ROWS}u;
  let baseG = p.atG.w + batch * p.atG.x + head * p.atG.y;
  let baseQ = p.atQ.w + batch * p.atQ.x + head * p.atQ.y;
  let baseK = p.atK.w + batch * p.atK.x + head * p.atK.y;
  let baseV = p.atV.w + batch * p.atV.x + head * p.atV.y;
  let width4 = p.width / 4u;
  let window = p.window + (slot * p.windowKeys + wid.x * ${ROWS}u) * width4;
//#repeat i QUADS
  let token$i = min(first + ${i}u * ${SG}u + lane, p.keys - 1u);
  let rowK$i = baseK + token$i * p.atK.z;
  let rowV$i = baseV + token$i * p.atV.z;
  let own$i = u32(first + ${i}u * ${SG}u + lane < p.keys && (p.masked == 0u || mask[p.atMask + batch * p.keys + token$i] != 0u));
//#end
//#repeat c D_LANE
  let column$c = min(${c}u * ${SG}u + lane, p.chunks - 1u);
//#end
//#repeat c V_LANE
  let valueColumn$c = min(${c}u * ${SG}u + lane, p.valueChunks - 1u);
//#end
//#repeat r ROWS
  let shown$r = subgroupBroadcast(own${r / SG}, ${r % SG}u) != 0u;
//#repeat c D_LANE
  var dk${r}_$c = vec4<f32>();
//#end
//#repeat c V_LANE
  var dv${r}_$c = vec4<f32>();
//#end
//#end
  let begin = select(0u, first / ${SG * 4}u * ${SG * 4}u, p.causal != 0u);
  // Added to a query's place, it sees all keys.
  let ahead = select(p.keys, 0u, p.causal != 0u);
  for (var j = begin; j < p.queries; j += ${SG * 4}u) {
    let query = vec4<u32>(j + lane * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    let inside = min(query, vec4<u32>(p.queries - 1u));
    let rowQ = vec4<u32>(baseQ) + inside * p.atQ.z;
    let rowG = vec4<u32>(baseG) + inside * p.atG.z;
    let stat = pair * width4 + min(query.x / 4u, width4 - 1u);
    let z = scratch[stat];
    let delta = scratch[p.pairs * width4 + stat] * p.scale;
//#repeat r ROWS
    var s$r = vec4<f32>();
//#end
    for (var c = 0u; c < p.chunks; c++) {
//#repeat i QUADS
      let a$i = vec4<f32>(k[rowK$i + c]);
//#end
      let n0 = vec4<f32>(q[rowQ.x + c]);
      let n1 = vec4<f32>(q[rowQ.y + c]);
      let n2 = vec4<f32>(q[rowQ.z + c]);
      let n3 = vec4<f32>(q[rowQ.w + c]);
      let b0 = vec4<f32>(n0.x, n1.x, n2.x, n3.x);
      let b1 = vec4<f32>(n0.y, n1.y, n2.y, n3.y);
      let b2 = vec4<f32>(n0.z, n1.z, n2.z, n3.z);
      let b3 = vec4<f32>(n0.w, n1.w, n2.w, n3.w);
//#repeat r ROWS
      let r$r = subgroupBroadcast(a${r / SG}, ${r % SG}u);
      s$r += r$r.x * b0 + r$r.y * b1 + r$r.z * b2 + r$r.w * b3;
//#end
    }
    let on = query < vec4<u32>(p.queries);
    let seen = query + vec4<u32>(ahead);
//#repeat r ROWS
    s$r = select(vec4<f32>(), exp2(s$r * (p.scale * 1.44269504) - z), on & (seen >= vec4<u32>(first + ${r}u)) & vec4<bool>(shown$r));
    var t$r = vec4<f32>();
//#end
    for (var c = 0u; c < p.valueChunks; c++) {
//#repeat i QUADS
      let a$i = vec4<f32>(v[rowV$i + c]);
//#end
      let n0 = vec4<f32>(g[rowG.x + c]);
      let n1 = vec4<f32>(g[rowG.y + c]);
      let n2 = vec4<f32>(g[rowG.z + c]);
      let n3 = vec4<f32>(g[rowG.w + c]);
      let b0 = vec4<f32>(n0.x, n1.x, n2.x, n3.x);
      let b1 = vec4<f32>(n0.y, n1.y, n2.y, n3.y);
      let b2 = vec4<f32>(n0.z, n1.z, n2.z, n3.z);
      let b3 = vec4<f32>(n0.w, n1.w, n2.w, n3.w);
//#repeat r ROWS
      let r$r = subgroupBroadcast(a${r / SG}, ${r % SG}u);
      t$r += r$r.x * b0 + r$r.y * b1 + r$r.z * b2 + r$r.w * b3;
//#end
    }
//#repeat r ROWS
    t$r = select(vec4<f32>(), s$r * (t$r * p.scale - delta), s$r != vec4<f32>());
//#end
    if (query.x < p.width) {
//#repeat r ROWS
      scratch[window + ${r}u * width4 + query.x / 4u] = t$r;
//#end
    }
    let steps = (min(p.queries - j, ${SG * 4}u) + 3u) / 4u;
    for (var u = 0u; u < steps; u++) {
      let token = min(vec4<u32>(j + u * 4u) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.queries - 1u));
      let at = vec4<u32>(baseG) + token * p.atG.z;
//#repeat c V_LANE
      let x$c = vec4<f32>(g[at.x + valueColumn$c]);
      let y$c = vec4<f32>(g[at.y + valueColumn$c]);
      let z$c = vec4<f32>(g[at.z + valueColumn$c]);
      let w$c = vec4<f32>(g[at.w + valueColumn$c]);
//#end
//#repeat r ROWS
      let e$r = subgroupShuffle(s$r, u);
//#repeat c V_LANE
      dv${r}_$c += e$r.x * x$c + e$r.y * y$c + e$r.z * z$c + e$r.w * w$c;
//#end
//#end
    }
    for (var u = 0u; u < steps; u++) {
      let token = min(vec4<u32>(j + u * 4u) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.queries - 1u));
      let at = vec4<u32>(baseQ) + token * p.atQ.z;
//#repeat c D_LANE
      let x$c = vec4<f32>(q[at.x + column$c]);
      let y$c = vec4<f32>(q[at.y + column$c]);
      let z$c = vec4<f32>(q[at.z + column$c]);
      let w$c = vec4<f32>(q[at.w + column$c]);
//#end
//#repeat r ROWS
      let e$r = subgroupShuffle(t$r, u);
//#repeat c D_LANE
      dk${r}_$c += e$r.x * x$c + e$r.y * y$c + e$r.z * z$c + e$r.w * w$c;
//#end
//#end
    }
  }
  var keys: array<vec4<f32>, ${ROWS * D_LANE}>;
  var values: array<vec4<f32>, ${ROWS * V_LANE}>;
//#repeat r ROWS
//#repeat c D_LANE
  keys[${r * D_LANE + c}] = dk${r}_$c;
//#end
//#repeat c V_LANE
  values[${r * V_LANE + c}] = dv${r}_$c;
//#end
//#end
  for (var r = 0u; r < min(${ROWS}u, p.keys - first); r++) {
    let at = (batch * p.keys + first + r) * p.heads + head;
    for (var c = 0u; c < ${D_LANE}u; c++) {
      if (c * ${SG}u + lane < p.chunks) {
        dk[at * p.chunks + c * ${SG}u + lane] = vec4<$T>(keys[r * ${D_LANE}u + c]);
      }
    }
    for (var c = 0u; c < ${V_LANE}u; c++) {
      if (c * ${SG}u + lane < p.valueChunks) {
        dv[at * p.valueChunks + c * ${SG}u + lane] = vec4<$T>(values[r * ${V_LANE}u + c]);
      }
    }
  }
}
