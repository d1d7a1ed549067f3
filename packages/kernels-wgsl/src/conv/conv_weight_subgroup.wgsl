// Weight gradient over channels-last, padded images by subgroup broadcast: rows are output channels, columns the (ky, kx, channel) of the window,
// a lane owning four channels; k runs over the pixels of dY [B, rows, height, 4 * width4], four of a line at a time. Workgroup z adds up `lines`
// lines of all images' and writes its own part [rows, 4 * n4]; conv_unpack_weight adds the parts.
@group(0) @binding($next) var<storage, read> d: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> x: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read_write> c: array<vec4<f32>>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size($SG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let row0 = wid.y * ${ROWS}u;
  let column = wid.x * ${SG}u + lane;
  let col4 = min(column, p.n4 - 1u);
  let begin = wid.z * p.lines;
  let count = min(p.lines, p.allLines - begin) * p.width4;
  let b = begin / p.height;
  let y = begin - b * p.height;
  let ky = col4 / p.run;
  var ix = b * p.image + (y * p.strideY + ky) * p.line + (col4 - ky * p.run);
//#repeat q QUADS
  var ia$q = p.offsetD / 4u + ((b * p.m + min(row0 + ${q}u * ${SG}u + lane, p.m - 1u)) * p.height + y) * p.width4;
//#end
//#repeat r ROWS
  var acc$r = vec4<f32>();
//#end
  var u = p.width4;
  var v = p.height - y;
  for (var k = 0u; k < count; k++) {
//#repeat q QUADS
    let a$q = vec4<f32>(d[ia$q]);
//#end
    let s0 = vec4<f32>(x[ix]);
    let s1 = vec4<f32>(x[ix + p.stepX]);
    let s2 = vec4<f32>(x[ix + 2u * p.stepX]);
    let s3 = vec4<f32>(x[ix + 3u * p.stepX]);
//#repeat r ROWS
    let r$r = subgroupBroadcast(a${r / SG}, ${r % SG}u);
    acc$r += r$r.x * s0 + r$r.y * s1 + r$r.z * s2 + r$r.w * s3;
//#end
    // On to the next four pixels, the next line, the next image.
    u -= 1u;
    let lineDone = u == 0u;
    v -= select(0u, 1u, lineDone);
    let imageDone = v == 0u;
    ix += select(select(4u * p.stepX, p.jumpLine, lineDone), p.jumpImage, imageDone);
    let stepA = select(1u, p.jumpD, imageDone);
    u = select(u, p.width4, lineDone);
    v = select(v, p.height, imageDone);
//#repeat q QUADS
    ia$q += stepA;
//#end
  }
  if (column >= p.n4) {
    return;
  }
  let at = (p.part + wid.z) * p.m * p.n4 + column;
//#repeat r ROWS
  if (row0 + ${r}u < p.m) {
    c[at + (row0 + ${r}u) * p.n4] = acc$r;
  }
//#end
}
