// dX of a strided convolution from the products of all windows [B, outHeight, outWidth, kHeight, kWidth, 4 * groups]: each pixel adds up the
// window positions that covered it (col2im as a gather, so that the order of additions is fixed). A thread makes one pixel of 8 channel groups;
// the products hold the channels from group firstGroup on.
@group(0) @binding($next) var<storage, read> columns: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read_write> o: array<$T>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = (wid.y * num.x + wid.x) * 64u + lid;
  if (id >= p.pixels) {
    return;
  }
  let line = id / p.width;
  let b = line / p.height;
  let plane = p.height * p.width;
  // Window position ky of output line oy covers this pixel where oy * stride + ky = y.
  let y = line - b * p.height + p.padY;
  let x = id - line * p.width + p.padX;
  let first = wid.z * 8u;
  let end = min(first + 8u, p.groups);
  for (var g = first; g < end; g++) {
    var total = vec4<f32>();
    var oy = y / p.strideY;
    for (var ky = y - oy * p.strideY; ky < p.kHeight && ky <= y; ky += p.strideY) {
      var ox = x / p.strideX;
      for (var kx = x - ox * p.strideX; kx < p.kWidth && kx <= x; kx += p.strideX) {
        if (oy < p.outHeight && ox < p.outWidth) {
          let window = (b * p.outHeight + oy) * p.outWidth + ox;
          total += vec4<f32>(columns[((window * p.kHeight + ky) * p.kWidth + kx) * p.groups + g]);
        }
        ox -= 1u;
      }
      oy -= 1u;
    }
    let channel = (p.firstGroup + g) * 4u;
    var at = p.offset + (b * p.channels + channel) * plane + (id - b * plane);
    let count = min(p.channels - channel, 4u);
    for (var i = 0u; i < count; i++) {
      o[at] = $T(total[i]);
      at += plane;
    }
  }
}
