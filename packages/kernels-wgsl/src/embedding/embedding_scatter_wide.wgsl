// Gradient of the table, as embedding_scatter, counted in vec4s: a thread adds four vec4s of a row, a quarter row apart, and walks the chain once for
// all four. Each element's additions have the same order as there.
@group(0) @binding($next) var<storage, read> g: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> ids: array<u32>;
@group(0) @binding($next) var<storage, read> next: array<u32>;
@group(0) @binding($next) var<storage, read> later: array<u32>;
@group(0) @binding($next) var<storage, read_write> o: array<vec4<$T>>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = (wid.y * num.x + wid.x) * 64u + lid;
  let first = id / p.quarter;
  if (first >= p.count) {
    return;
  }
  if (later[first] != 0u) {
    return;
  }
  let row = ids[p.offsetIds + first];
  if (row >= p.rows) {
    return;
  }
  let column = id - first * p.quarter;
//#repeat k 4
  var sum$k = vec4<f32>();
//#end
  for (var i = first; i < p.count; i = next[i]) {
    let at = p.offset + i * 4u * p.quarter + column;
//#repeat k 4
    sum$k += vec4<f32>(g[at + ${k}u * p.quarter]);
//#end
  }
  let to = row * 4u * p.quarter + column;
//#repeat k 4
  o[to + ${k}u * p.quarter] = vec4<$T>(sum$k);
//#end
}
