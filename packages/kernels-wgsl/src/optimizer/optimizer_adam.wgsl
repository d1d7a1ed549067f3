// AdamW (Loshchilov & Hutter 2019) or Adam with L2 decay (DECOUPLED off), fused over a packed parameter group:
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w = w - lr (m / c1) / (sqrt(v / c2) + eps)
// with AdamW's w = (1 - lr decay) w first, or Adam's g = g + decay w. Gradients are multiplied by control.x, the clip coefficient.
// Everything that changes from step to step is data: hyper = (lr, 1 - b1, b2, 1 - b2), (c1 = 1 - b1^t, c2 = 1 - b2^t, eps, decay).
// control.y is 0 when a gradient was not finite: then nothing is written.
@group(0) @binding($next) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding($next) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding($next) var<storage, read_write> m: array<vec4<f32>>;
@group(0) @binding($next) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding($next) var<storage, read> hyper: array<vec4<f32>>;
@group(0) @binding($next) var<storage, read> control: array<vec4<f32>>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let first = hyper[0];
  let second = hyper[1];
  let state = control[0];
  if (state.y == 0.0) {
    return;
  }
  let base = (wid.y * num.x + wid.x) * 256u + lid;
  for (var j = 0u; j < 4u; j++) {
    let i = base + j * 64u;
    if (i < p.count4) {
      var weight = w[i];
      var gradient = g[i] * state.x;
//#if DECOUPLED
      weight *= 1.0 - first.x * second.w;
//#else
      gradient += second.w * weight;
//#endif
      let m0 = m[i];
      let m1 = m0 + first.y * (gradient - m0);
      let v1 = first.z * v[i] + first.w * gradient * gradient;
      m[i] = m1;
      v[i] = v1;
      w[i] = weight - first.x * (m1 / second.x) / (sqrt(v1 / second.y) + second.z);
    }
  }
}
