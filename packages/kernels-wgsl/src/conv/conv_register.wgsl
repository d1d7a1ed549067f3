// The portable convolution by register blocking alone: the implicit matrix product of conv_implicit, whose text says what rows, columns and k are in
// each direction, with a 4 x 4 block of C to a thread and 32 x 32 to a workgroup. No workgroup memory, no barrier.
// Rows and columns past the end repeat the last one, their results are not stored.
@group(0) @binding($next) var<storage, read> a: array<$T>;
@group(0) @binding($next) var<storage, read> x: array<$T>;
//#if BIAS
@group(0) @binding($next) var<storage, read> bias: array<$T>;
//#endif
@group(0) @binding($next) var<storage, read_write> c: array<$O>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let split = wid.z % p.splits;
  let firstRow = wid.y * 32u + (lid / 8u) * 4u;
  let firstCol = ((wid.z / p.splits) * num.x + wid.x) * 32u + (lid % 8u) * 4u;
  let area = p.columnHeight * p.columnWidth;
//#repeat i 4
  let baseA$i = p.offsetA + min(firstRow + ${i}u, p.m - 1u) * p.rowA;
  let col$i = min(firstCol + ${i}u, p.n - 1u);
  let outer$i = col$i / area;
  let pixel$i = col$i - outer$i * area;
  let baseX$i = p.offsetX + outer$i * p.outerX;
  let y$i = i32(pixel$i / p.columnWidth) * p.scaleY - p.padY;
  let x$i = i32(pixel$i % p.columnWidth) * p.scaleX - p.padX;
  var acc$i = vec4<f32>();
//#end

  let begin = split * p.chunk;
  let end = min(begin + p.chunk, p.k);
  let window = p.kHeight * p.kWidth;
  var j = begin / window;
  var v = (begin - j * window) / p.kWidth;
  var u = (begin - j * window) % p.kWidth;
  for (var k = begin; k < end; k++) {
    let atA = j * p.outerA + v * p.kWidth + u;
    let atX = j * p.planeX;
    let dy = i32(v) * p.stepY;
    let dx = i32(u) * p.stepX;
    var vx = vec4<f32>();
//#repeat i 4
    if (y$i + dy >= 0 && x$i + dx >= 0 && y$i + dy < p.height && x$i + dx < p.width) {
      vx[$i] = f32(x[baseX$i + atX + u32((y$i + dy) * p.width + x$i + dx)]);
    }
//#end
//#repeat i 4
    acc$i += f32(a[baseA$i + atA]) * vx;
//#end
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
  var acc = array<vec4<f32>, 4>(acc0, acc1, acc2, acc3);
  for (var i = 0u; i < 4u && firstCol + i < p.n; i++) {
    let o = (firstCol + i) / area;
    let at = p.offsetC + split * p.m * p.n + o * p.outerC + (firstCol + i - o * area);
    for (var r = 0u; r < 4u && firstRow + r < p.m; r++) {
      var value = acc[r][i];
//#if BIAS
      value += f32(bias[p.offsetBias + firstRow + r]);
//#endif
      c[at + (firstRow + r) * p.rowC] = $O(value);
    }
  }
}
