// The portable convolution: an implicit matrix product C = A X with the tile of gemm_tiled, where column (o, y, x) of X is read from an image
// through the window's arithmetic and never stored. The three products of a convolution differ in their numbers only:
//   forward  rows: output channels   columns: (image, oy, ox)      k: (input channel, ky, kx)
//   dX       rows: input channels    columns: (image, iy, ix)      k: (output channel, ky, kx)    stride 1 only
//   dW       rows: output channels   columns: (channel, ky, kx)    k: (image, oy, ox)             cut into splits, added by a later call
// The pixel of column (o, y, x) at k = (j, v, u) is (y, x) * scale + (v, u) * step - pad; zero outside.
@group(0) @binding($next) var<storage, read> a: array<$T>;
@group(0) @binding($next) var<storage, read> x: array<$T>;
//#if BIAS
@group(0) @binding($next) var<storage, read> bias: array<$T>;
//#endif
@group(0) @binding($next) var<storage, read_write> c: array<$O>;
@group(0) @binding($next) var<uniform> p: Params;

// [k][m] and [k][n]: the inner products read rows of both.
var<workgroup> tileA: array<array<f32, 64>, 16>;
var<workgroup> tileX: array<array<f32, 64>, 16>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let split = wid.z % p.splits;
  let row0 = wid.y * 64u;
  let col0 = ((wid.z / p.splits) * num.x + wid.x) * 64u;
  let area = p.columnHeight * p.columnWidth;

  // This thread fetches one row of A and one column of X; both stay the same for all k.
  let rowInside = row0 + lid < p.m;
  let baseA = p.offsetA + (row0 + lid) * p.rowA;
  let colInside = col0 + lid < p.n;
  let outer = (col0 + lid) / area;
  let pixel = (col0 + lid) - outer * area;
  let cy = i32(pixel / p.columnWidth);
  let cx = i32(pixel % p.columnWidth);
  let baseX = p.offsetX + outer * p.outerX;
  let y0 = cy * p.scaleY - p.padY;
  let x0 = cx * p.scaleX - p.padX;

  let begin = split * p.chunk;
  let end = min(begin + p.chunk, p.k);
  let window = p.kHeight * p.kWidth;
  var j = begin / window;
  var v = (begin - j * window) / p.kWidth;
  var u = (begin - j * window) % p.kWidth;

  let ty = (lid / 8u) * 8u;
  let tx = (lid % 8u) * 8u;
  var acc: array<array<f32, 8>, 8>;
  for (var k0 = begin; k0 < end; k0 += 16u) {
    for (var k = 0u; k < 16u; k++) {
      let inside = k0 + k < end;
      var va = 0.0;
      if (inside && rowInside) {
        va = f32(a[baseA + j * p.outerA + v * p.kWidth + u]);
      }
      tileA[k][lid] = va;
      let iy = y0 + i32(v) * p.stepY;
      let ix = x0 + i32(u) * p.stepX;
      var vx = 0.0;
      if (inside && colInside && iy >= 0 && ix >= 0 && iy < p.height && ix < p.width) {
        vx = f32(x[baseX + j * p.planeX + u32(iy * p.width + ix)]);
      }
      tileX[k][lid] = vx;
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
    workgroupBarrier();
    for (var k = 0u; k < 16u; k++) {
      var vx: array<f32, 8>;
      for (var i = 0u; i < 8u; i++) {
        vx[i] = tileX[k][tx + i];
      }
      for (var r = 0u; r < 8u; r++) {
        let va = tileA[k][ty + r];
        for (var i = 0u; i < 8u; i++) {
          acc[r][i] += va * vx[i];
        }
      }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < 8u; i++) {
    let col = col0 + tx + i;
    let o = col / area;
    let at = p.offsetC + split * p.m * p.n + o * p.outerC + (col - o * area);
    for (var r = 0u; r < 8u; r++) {
      let row = row0 + ty + r;
      if (row < p.m && col < p.n) {
        var value = acc[r][i];
//#if BIAS
        value += f32(bias[p.offsetBias + row]);
//#endif
        c[at + row * p.rowC] = $O(value);
      }
    }
  }
}
