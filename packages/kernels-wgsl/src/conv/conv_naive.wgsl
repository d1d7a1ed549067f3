// The first rung of the portable convolution: the implicit matrix product of conv_implicit, whose text says what rows, columns and k are in each
// direction, with one thread to an element of C.
@group(0) @binding($next) var<storage, read> a: array<$T>;
@group(0) @binding($next) var<storage, read> x: array<$T>;
//#if BIAS
@group(0) @binding($next) var<storage, read> bias: array<$T>;
//#endif
@group(0) @binding($next) var<storage, read_write> c: array<$O>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = (wid.y * num.x + wid.x) * 64u + lid;
  if (id >= p.m * p.n) {
    return;
  }
  let row = id / p.n;
  let col = id - row * p.n;
  let area = p.columnHeight * p.columnWidth;
  let outer = col / area;
  let pixel = col - outer * area;
  let y0 = i32(pixel / p.columnWidth) * p.scaleY - p.padY;
  let x0 = i32(pixel % p.columnWidth) * p.scaleX - p.padX;
  let baseA = p.offsetA + row * p.rowA;
  let baseX = p.offsetX + outer * p.outerX;

  let begin = wid.z * p.chunk;
  let end = min(begin + p.chunk, p.k);
  let window = p.kHeight * p.kWidth;
  var j = begin / window;
  var v = (begin - j * window) / p.kWidth;
  var u = (begin - j * window) % p.kWidth;
  var acc = 0.0;
  for (var k = begin; k < end; k++) {
    let iy = y0 + i32(v) * p.stepY;
    let ix = x0 + i32(u) * p.stepX;
    if (iy >= 0 && ix >= 0 && iy < p.height && ix < p.width) {
      acc += f32(a[baseA + j * p.outerA + v * p.kWidth + u]) * f32(x[baseX + j * p.planeX + u32(iy * p.width + ix)]);
    }
    u++;
    if (u == p.kWidth) {
      u = 0u;
      v++;
      if (v == p.kHeight) {
        v = 0u;
        j++;
      }
    }
  }
//#if BIAS
  acc += f32(bias[p.offsetBias + row]);
//#endif
  c[p.offsetC + wid.z * p.m * p.n + outer * p.outerC + pixel + row * p.rowC] = $O(acc);
}
