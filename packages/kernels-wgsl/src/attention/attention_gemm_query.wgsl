// Gradient of attention by the queries, dq = scale dST k, from the window of scale dS that attention_gemm_key.wgsl stored: a matrix product by subgroup
// broadcast whose first operand is stored by columns, $ROWS queries to a workgroup, which is one subgroup. More than one window of keys adds to dq (p.more).
@group(0) @binding($next) var<storage, read> k: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> scratch: array<vec4<f32>>;
@group(0) @binding($next) var<storage, read_write> dq: array<vec4<$O>>;
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
  let first = wid.x * ${ROWS}u;
  let baseK = p.atK.w + batch * p.atK.x + head * p.atK.y;
  let width4 = p.width / 4u;
  let end = min(min(p.keys, p.firstKey + p.windowKeys), select(p.keys, first + ${ROWS}u, p.causal != 0u));
  // Which vec4s of the block of four keys by $ROWS queries this lane fetches.
//#repeat i QUADS
  let part$i = min(${i}u * ${SG}u + lane, ${ROWS - 1}u);
  var ia$i = p.window + (slot * p.windowKeys + part$i / ${ROWS / 4}u) * width4 + min(first / 4u + part$i % ${ROWS / 4}u, width4 - 1u);
//#end
//#repeat c D_LANE
  let column$c = min(${c}u * ${SG}u + lane, p.chunks - 1u);
//#end
//#repeat r ROWS
//#repeat c D_LANE
  var d${r}_$c = vec4<f32>();
//#end
//#end
  for (var j = p.firstKey; j < end; j += 4u) {
//#repeat i QUADS
    let a$i = scratch[ia$i];
    ia$i += p.width;
//#end
    let at = vec4<u32>(baseK) + min(vec4<u32>(j) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.keys - 1u)) * p.atK.z;
//#repeat c D_LANE
    let x$c = vec4<f32>(k[at.x + column$c]);
    let y$c = vec4<f32>(k[at.y + column$c]);
    let z$c = vec4<f32>(k[at.z + column$c]);
    let w$c = vec4<f32>(k[at.w + column$c]);
//#end
//#repeat g ROWS4
    let e$g = subgroupBroadcast(a${(0 * ROWS4 + g) / SG}, ${(0 * ROWS4 + g) % SG}u);
    let f$g = subgroupBroadcast(a${(1 * ROWS4 + g) / SG}, ${(1 * ROWS4 + g) % SG}u);
    let g$g = subgroupBroadcast(a${(2 * ROWS4 + g) / SG}, ${(2 * ROWS4 + g) % SG}u);
    let h$g = subgroupBroadcast(a${(3 * ROWS4 + g) / SG}, ${(3 * ROWS4 + g) % SG}u);
//#repeat c D_LANE
    d${g * 4}_$c += e$g.x * x$c + f$g.x * y$c + g$g.x * z$c + h$g.x * w$c;
    d${g * 4 + 1}_$c += e$g.y * x$c + f$g.y * y$c + g$g.y * z$c + h$g.y * w$c;
    d${g * 4 + 2}_$c += e$g.z * x$c + f$g.z * y$c + g$g.z * z$c + h$g.z * w$c;
    d${g * 4 + 3}_$c += e$g.w * x$c + f$g.w * y$c + g$g.w * z$c + h$g.w * w$c;
//#end
//#end
  }
  var results: array<vec4<f32>, ${ROWS * D_LANE}>;
//#repeat r ROWS
//#repeat c D_LANE
  results[${r * D_LANE + c}] = d${r}_$c;
//#end
//#end
  for (var r = 0u; r < min(${ROWS}u, p.queries - first); r++) {
    let at = ((batch * p.queries + first + r) * p.heads + head) * p.chunks;
    for (var c = 0u; c < ${D_LANE}u; c++) {
      let place = at + c * ${SG}u + lane;
      if (c * ${SG}u + lane < p.chunks) {
        var value = results[r * ${D_LANE}u + c];
        if (p.more != 0u) {
          value += vec4<f32>(dq[place]);
        }
        dq[place] = vec4<$O>(value);
      }
    }
  }
}
