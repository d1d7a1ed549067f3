// C[b] = act(A[b] B[b] + bias) by register blocking with vec4 loads: gemm_register for operands aligned to four. A thread computes $ROWS rows by one
// vec4 of columns; per four steps of k it loads a vec4 of A for every row and four of B, and touches each accumulator once. The 8 x 8 threads of a
// workgroup read the same rows and columns, which the hardware's cache serves. No workgroup memory, no barrier.
// TA: A is stored [k, m]; TB: B is stored [n, k]. The host guarantees that k, n, every leading dimension and every offset are multiples of 4
// (m as well under TA).
@group(0) @binding($next) var<storage, read> a: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> b: array<vec4<$T>>;
//#if BIAS
@group(0) @binding($next) var<storage, read> bias: array<$T>;
//#endif
@group(0) @binding($next) var<storage, read_write> c: array<vec4<$T>>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

fn act(x: f32) -> f32 {
  return $ACT;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let row0 = (wid.y * 8u + lid / 8u) * ${ROWS}u;
  let column = wid.x * 8u + lid % 8u;
  let col4 = min(column, p.n / 4u - 1u);
  let baseA = (p.offsetA + wid.z * p.batchA) / 4u;
  let baseB = (p.offsetB + wid.z * p.batchB) / 4u;
  let stepA = p.lda / 4u;
  let stepB = p.ldb / 4u;
  // Rows past the end repeat the last one, their results are not stored.
//#if TA
//#repeat g ROWS4
  var ia$g = baseA + min(row0 / 4u + ${g}u, p.m / 4u - 1u);
//#end
//#else
//#repeat r ROWS
  var ia$r = baseA + min(row0 + ${r}u, p.m - 1u) * stepA;
//#end
//#endif
//#if TB
  var ib = baseB + col4 * p.ldb;
//#else
  var ib = baseB + col4;
//#endif
//#repeat r ROWS
  var acc$r = vec4<f32>();
//#end
  for (var k = 0u; k < p.k; k += 4u) {
    let s0 = vec4<f32>(b[ib]);
    let s1 = vec4<f32>(b[ib + stepB]);
    let s2 = vec4<f32>(b[ib + 2u * stepB]);
    let s3 = vec4<f32>(b[ib + 3u * stepB]);
//#if TB
    let b0 = vec4<f32>(s0.x, s1.x, s2.x, s3.x);
    let b1 = vec4<f32>(s0.y, s1.y, s2.y, s3.y);
    let b2 = vec4<f32>(s0.z, s1.z, s2.z, s3.z);
    let b3 = vec4<f32>(s0.w, s1.w, s2.w, s3.w);
    ib += 1u;
//#else
    let b0 = s0;
    let b1 = s1;
    let b2 = s2;
    let b3 = s3;
    ib += p.ldb;
//#endif
//#if TA
//#repeat g ROWS4
    let u$g = vec4<f32>(a[ia$g]);
    let v$g = vec4<f32>(a[ia$g + stepA]);
    let w$g = vec4<f32>(a[ia$g + 2u * stepA]);
    let x$g = vec4<f32>(a[ia$g + 3u * stepA]);
    acc${g * 4} += u$g.x * b0 + v$g.x * b1 + w$g.x * b2 + x$g.x * b3;
    acc${g * 4 + 1} += u$g.y * b0 + v$g.y * b1 + w$g.y * b2 + x$g.y * b3;
    acc${g * 4 + 2} += u$g.z * b0 + v$g.z * b1 + w$g.z * b2 + x$g.z * b3;
    acc${g * 4 + 3} += u$g.w * b0 + v$g.w * b1 + w$g.w * b2 + x$g.w * b3;
    ia$g += p.lda;
//#end
//#else
//#repeat r ROWS
    let r$r = vec4<f32>(a[ia$r]);
    acc$r += r$r.x * b0 + r$r.y * b1 + r$r.z * b2 + r$r.w * b3;
    ia$r += 1u;
//#end
//#endif
  }
  if (column >= p.n / 4u) {
    return;
  }
  let baseC = (p.offsetC + wid.z * p.batchC) / 4u + col4;
//#if BIAS
//#if BIAS_COL
  let first = p.offsetBias + col4 * 4u;
  let add = vec4<f32>(f32(bias[first]), f32(bias[first + 1u]), f32(bias[first + 2u]), f32(bias[first + 3u]));
//#endif
//#endif
  // One store site in a loop: unrolled, the activation would be compiled for every row.
  var rows: array<vec4<f32>, $ROWS>;
//#repeat r ROWS
  rows[$r] = acc$r;
//#end
  for (var r = 0u; r < ${ROWS}u && row0 + r < p.m; r++) {
    var value = rows[r];
//#if BIAS
//#if BIAS_COL
    value += add;
//#else
    value += vec4<f32>(f32(bias[p.offsetBias + row0 + r]));
//#endif
//#endif
    c[baseC + (row0 + r) * (p.n / 4u)] = vec4<$T>(vec4<f32>(act(value.x), act(value.y), act(value.z), act(value.w)));
  }
}
