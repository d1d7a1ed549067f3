// Lays images [B, C, H, W] out as [B, Hp, Wp, 4 * groups], zeros around them and in the channels that fill up the last vec4. In this order one row
// of a convolution's window is one run of vec4s without tests for borders. A thread writes one pixel of 8 channel groups.
@group(0) @binding($next) var<storage, read> x: array<$T>;
@group(0) @binding($next) var<storage, read_write> o: array<vec4<$T>>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = (wid.y * num.x + wid.x) * 64u + lid;
  if (id >= p.pixels) {
    return;
  }
  let line = id / p.paddedWidth;
  let b = line / p.paddedHeight;
  // Pixels above and left of the image wrap round to large numbers.
  let iy = line - b * p.paddedHeight - p.padY;
  let ix = id - line * p.paddedWidth - p.padX;
  let inside = iy < p.height && ix < p.width;
  let plane = p.height * p.width;
  let first = wid.z * 8u;
  let end = min(first + 8u, p.groups);
  var at = p.offset + (b * p.channels + first * 4u) * plane + iy * p.width + ix;
  for (var g = first; g < end; g++) {
    var value = vec4<$T>();
    if (inside) {
      // Channels past the last repeat it and are zeroed: four load sites without branches.
      let last = min(p.channels - g * 4u, 4u) - 1u;
      value = vec4<$T>(x[at], x[at + min(1u, last) * plane], x[at + min(2u, last) * plane], x[at + last * plane]);
      value = select(value, vec4<$T>(), vec4<u32>(0u, 1u, 2u, 3u) > vec4<u32>(last));
    }
    o[id * p.groups + g] = value;
    at += 4u * plane;
  }
}
