// Resamples one axis of [outer, size, inner] by a table: result r of the axis is the weighted sum of spans[r].y elements from spans[r].x on, with the
// weights from r * taps on. Bilinear and bicubic, with and without anti-aliasing, and all their gradients are this one text.
@group(0) @binding($next) var<storage, read> a: array<$T>;
@group(0) @binding($next) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding($next) var<storage, read> weights: array<f32>;
@group(0) @binding($next) var<storage, read_write> o: array<$O>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = (wid.y * num.x + wid.x) * 64u + lid;
  if (id >= p.count) {
    return;
  }
  let line = id / p.inner;
  let outer = line / p.result;
  let r = line - outer * p.result;
  let span = spans[r];
  var at = p.offset + (outer * p.size + span.x) * p.inner + (id - line * p.inner);
  var acc = 0.0;
  for (var k = 0u; k < span.y; k++) {
    acc += weights[r * p.taps + k] * f32(a[at]);
    at += p.inner;
  }
  o[id] = $O(acc);
}
