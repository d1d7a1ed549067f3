// What the gradients of attention by matrix products need of each query, a thread to a query: the log-sum-exp in base 2, and delta = rowsum(g o) after
// all of those. The queries of a head are `width` apart, a multiple of 4, and those past the last are 0.
@group(0) @binding($next) var<storage, read> g: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> o: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> lse: array<f32>;
@group(0) @binding($next) var<storage, read_write> scratch: array<f32>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let index = (wid.y * num.x + wid.x) * 32u + lid;
  let pair = index / p.width;
  let query = index - pair * p.width;
  if (pair >= p.pairs) {
    return;
  }
  let batch = pair / p.heads;
  let head = pair - batch * p.heads;
  var sum = 0.0;
  var z = 0.0;
  if (query < p.queries) {
    let atG = p.atG.w + batch * p.atG.x + head * p.atG.y + query * p.atG.z;
    let atO = p.atO.w + batch * p.atO.x + head * p.atO.y + query * p.atO.z;
    for (var c = 0u; c < p.valueChunks; c++) {
      sum += dot(vec4<f32>(g[atG + c]), vec4<f32>(o[atO + c]));
    }
    z = lse[p.offset + pair * p.queries + query] * 1.44269504;
  }
  scratch[index] = z;
  scratch[p.pairs * p.width + index] = sum;
}
