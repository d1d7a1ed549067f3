// Convolution over channels-last, padded images by subgroup broadcast: gemm_subgroup with the columns of the second matrix read in place.
// Rows are channels of the result, columns its pixels over all images; a lane owns four pixels. A row of the window is one run of `run`
// vec4s in the image, so the walk over k is: one vec4 on, and a jump of `jump` after each run. w is [rows, window, 4 * groups].
// Against copying the columns out first (im2col) this saves their memory and a fifth of the time. VEC4: images hold a multiple of four
// pixels, so that a lane's pixels are neighbours in the result.
@group(0) @binding($next) var<storage, read> w: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> x: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> bias: array<$T>;
//#if VEC4
@group(0) @binding($next) var<storage, read_write> c: array<vec4<$T>>;
//#else
@group(0) @binding($next) var<storage, read_write> c: array<$T>;
//#endif
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size($SG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let row0 = wid.y * ${ROWS}u;
  let first = ((wid.z * num.x + wid.x) * ${SG}u + lane) * 4u;
  var base: array<u32, 4>;
  for (var i = 0u; i < 4u; i++) {
    let id = min(first + i, p.n - 1u);
    let line = id / p.width;
    let b = line / p.height;
    base[i] = b * p.image + (line - b * p.height) * p.stepY + (id - line * p.width) * p.stepX;
  }
  var ix0 = base[0];
  var ix1 = base[1];
  var ix2 = base[2];
  var ix3 = base[3];
//#repeat r ROWS
  var acc$r = vec4<f32>();
//#end
//#repeat q QUADS
  var ia$q = min(row0 + ${q}u * ${SG}u + lane, p.m - 1u) * p.k4;
//#end
  var left = p.run;
  for (var k = 0u; k < p.k4; k++) {
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
//#repeat q QUADS
    ia$q += 1u;
//#end
    left -= 1u;
    let advance = select(1u, p.jump, left == 0u);
    left = select(left, p.run, left == 0u);
    ix0 += advance;
    ix1 += advance;
    ix2 += advance;
    ix3 += advance;
  }
  // The bias as in gemm_subgroup.wgsl.
//#repeat q QUADS
  var own$q = 0.0;
//#end
  if (p.biased != 0u) {
//#repeat q QUADS
    own$q = f32(bias[p.offsetBias + min(row0 + ${q}u * ${SG}u + lane, p.m - 1u)]);
//#end
  }
//#repeat r ROWS
  let value$r = acc$r + vec4<f32>(subgroupBroadcast(own${r / SG}, ${r % SG}u));
//#end
  if (first >= p.n) {
    return;
  }
  let area = p.height * p.width;
//#if VEC4
  let b = first / area;
  let at = (p.offsetC + b * p.m * area + (first - b * area)) / 4u;
//#repeat r ROWS
  if (row0 + ${r}u < p.m) {
    c[at + (row0 + ${r}u) * (area / 4u)] = vec4<$T>(value$r);
  }
//#end
//#else
  // One store site in two loops: unrolled, 64 of them would compile for half a second.
  var rows: array<vec4<f32>, $ROWS>;
//#repeat r ROWS
  rows[$r] = value$r;
//#end
  for (var i = 0u; i < 4u && first + i < p.n; i++) {
    let b = (first + i) / area;
    let at = p.offsetC + b * p.m * area + (first + i - b * area);
    for (var r = 0u; r < ${ROWS}u && row0 + r < p.m; r++) {
      c[at + (row0 + r) * area] = $T(rows[r][i]);
    }
  }
//#endif
}
