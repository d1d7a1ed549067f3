// dX of a strided convolution by subgroup broadcast. Pixels of dX that lie a stride apart (a phase) are covered by the same positions of the window, so each
// phase is a convolution of stride 1 of dY with these positions alone: the products of the forward pass, and no more of them. Rows are input channels, columns
// the pixels of one phase over all images; workgroup y takes a phase after the other, each with all rows. w is [rows, window turned round, 4 * groups], x is dY
// laid out channels-last with `padTop` and `padLeft` zeros. Against all windows' products with a gather (conv_gather.wgsl) this writes nothing but dX.
@group(0) @binding($next) var<storage, read> w: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> x: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read_write> c: array<$T>;
@group(0) @binding($next) var<uniform> p: Params;

// The phase `at` of an axis: pixels q * stride + at. Its first window position and their number, what lies between q and the last line that these read, and its pixels.
struct Phase {
  first: u32,
  taps: u32,
  shift: u32,
  size: u32,
}

fn phase(at: u32, pad: u32, stride: u32, window: u32, size: u32) -> Phase {
  let first = (at + pad) % stride;
  let taps = select(0u, (window - first + stride - 1u) / stride, first < window);
  return Phase(first, taps, (at + pad) / stride, (size - at + stride - 1u) / stride);
}

@compute @workgroup_size($SG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let which = wid.y / p.tiles;
  let row0 = (wid.y - which * p.tiles) * ${ROWS}u;
  let atY = which / p.strideX;
  let atX = which - atY * p.strideX;
  let down = phase(atY, p.padY, p.strideY, p.kHeight, p.height);
  let across = phase(atX, p.padX, p.strideX, p.kWidth, p.width);
  let area = down.size * across.size;
  let n = p.batch * area;
  let tile = (wid.z * num.x + wid.x) * ${SG}u * 4u;
  if (tile >= n) {
    return;
  }
  let first = tile + lane * 4u;
  // In the order of memory the taps are turned round: the first one reads the line `taps - 1` before the last.
  let top = down.shift + p.padTop + 1u - down.taps;
  let left = across.shift + p.padLeft + 1u - across.taps;
  var base: array<u32, 4>;
  for (var i = 0u; i < 4u; i++) {
    let id = min(first + i, n - 1u);
    let line = id / across.size;
    let b = line / down.size;
    base[i] = ((b * p.lines + line - b * down.size + top) * p.pixels + id - line * across.size + left) * p.groups;
  }
  var ix0 = base[0];
  var ix1 = base[1];
  var ix2 = base[2];
  var ix3 = base[3];
//#repeat r ROWS
  var acc$r = vec4<f32>();
//#end
  // Position (ky, kx) of the window is (kHeight - 1 - ky, kWidth - 1 - kx) when it is turned round.
  let turnedY = (p.kHeight + p.strideY - 1u - down.first) % p.strideY;
  let turnedX = (p.kWidth + p.strideX - 1u - across.first) % p.strideX;
  let start = (turnedY * p.kWidth + turnedX) * p.groups;
  let row = p.kHeight * p.kWidth * p.groups;
//#repeat q QUADS
  var ia$q = min(row0 + ${q}u * ${SG}u + lane, p.m - 1u) * row + start;
//#end
  let steps = down.taps * across.taps * p.groups;
  let nextTap = (p.strideX - 1u) * p.groups + 1u;
  // May be negative: unsigned sums wrap round.
  let nextRow = (p.strideY * p.kWidth - (across.taps - 1u) * p.strideX - 1u) * p.groups + 1u;
  let nextLine = (p.pixels - across.taps) * p.groups + 1u;
  var channels = p.groups;
  var taps = across.taps;
  for (var k = 0u; k < steps; k++) {
//#repeat q QUADS
    let a$q = vec4<f32>(w[ia$q]);
//#end
    let s0 = vec4<f32>(x[ix0]);
    let s1 = vec4<f32>(x[ix1]);
    let s2 = vec4<f32>(x[ix2]);
    let s3 = vec4<f32>(x[ix3]);
    let b0 = vec4<f32>(s0.x, s1.x, s2.x, s3.x);
    let b1 = vec4<f32>(s0.y, s1.y, s2.y, s3.y);
    let b2 = vec4<f32>(s0.z, s1.z, s2.z, s3.z);
    let b3 = vec4<f32>(s0.w, s1.w, s2.w, s3.w);
//#repeat r ROWS
    let r$r = subgroupBroadcast(a${r / SG}, ${r % SG}u);
    acc$r += r$r.x * b0 + r$r.y * b1 + r$r.z * b2 + r$r.w * b3;
//#end
    channels -= 1u;
    let tapDone = channels == 0u;
    taps -= select(0u, 1u, tapDone);
    let rowDone = taps == 0u;
    let stepA = select(select(1u, nextTap, tapDone), nextRow, rowDone);
    let stepX = select(1u, nextLine, rowDone);
    channels = select(channels, p.groups, tapDone);
    taps = select(taps, across.taps, rowDone);
//#repeat q QUADS
    ia$q += stepA;
//#end
    ix0 += stepX;
    ix1 += stepX;
    ix2 += stepX;
    ix3 += stepX;
  }
  // One store site in two loops: unrolled, 64 of them would compile for half a second.
  var rows: array<vec4<f32>, $ROWS>;
//#repeat r ROWS
  rows[$r] = acc$r;
//#end
  let plane = p.height * p.width;
  for (var i = 0u; i < 4u && first + i < n; i++) {
    let line = (first + i) / across.size;
    let b = line / down.size;
    let y = (line - b * down.size) * p.strideY + atY;
    let at = p.offsetC + b * p.m * plane + y * p.width + (first + i - line * across.size) * p.strideX + atX;
    for (var r = 0u; r < ${ROWS}u && row0 + r < p.m; r++) {
      c[at + (row0 + r) * plane] = $T(rows[r][i]);
    }
  }
}
