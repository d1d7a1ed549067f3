// resample_axis where what lies behind the axis comes in vec4s: a thread computes four neighbours, which have their span and weights in common.
@group(0) @binding($next) var<storage, read> a: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding($next) var<storage, read> weights: array<f32>;
@group(0) @binding($next) var<storage, read_write> o: array<vec4<$O>>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = (wid.y * num.x + wid.x) * 64u + lid;
  if (id >= p.count4) {
    return;
  }
  let line = id / p.inner4;
  let outer = line / p.result;
  let r = line - outer * p.result;
  let span = spans[r];
  var at = p.offset4 + (outer * p.size + span.x) * p.inner4 + (id - line * p.inner4);
  var acc = vec4<f32>();
  for (var k = 0u; k < span.y; k++) {
    acc += weights[r * p.taps + k] * vec4<f32>(a[at]);
    at += p.inner4;
  }
  o[id] = vec4<$O>(acc);
}
