// Partial sums of squares of a packed gradient, one per thread, in a fixed order: the first half of the global norm.
@group(0) @binding($next) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding($next) var<storage, read_write> partial: array<f32>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = wid.x * 64u + lid;
  if (id >= p.threads) {
    return;
  }
  var sum = vec4<f32>();
  for (var i = id; i < p.count4; i += p.threads) {
    let x = g[i];
    sum += x * x;
  }
  partial[p.first + id] = (sum.x + sum.y) + (sum.z + sum.w);
}
