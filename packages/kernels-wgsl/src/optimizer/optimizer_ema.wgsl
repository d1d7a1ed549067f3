// Exponential moving average of packed weights: e = e + (1 - decay) (w - e). The decay is data: it changes while the average warms up.
//#if CONTROLLED
// control.y is 0 when the optimiser refused its step: then the average stays as well.
//#endif
@group(0) @binding($next) var<storage, read_write> e: array<vec4<f32>>;
@group(0) @binding($next) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding($next) var<storage, read> decay: array<f32>;
//#if CONTROLLED
@group(0) @binding($next) var<storage, read> control: array<vec4<f32>>;
//#endif
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
//#if CONTROLLED
  if (control[0].y == 0.0) {
    return;
  }
//#endif
  let base = (wid.y * num.x + wid.x) * 256u + lid;
  for (var j = 0u; j < 4u; j++) {
    let i = base + j * 64u;
    if (i < p.count4) {
      let old = e[i];
      e[i] = old + (1.0 - decay[0]) * (w[i] - old);
    }
  }
}
