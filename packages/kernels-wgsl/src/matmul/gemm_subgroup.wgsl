// C[b] = act(A[b] B[b] + bias) by subgroup broadcast: a workgroup is one subgroup of $SG lanes; it computes $ROWS rows by ${SG * 4} columns,
// each lane one vec4 of columns in every row. Per four steps of k the lanes load the A block together (each another vec4) and hand the
// values round with constant-lane broadcasts; all loads come before all arithmetic, and each accumulator is touched once per four steps.
// On lavapipe a per-lane load costs 20 ns per vec4 and a broadcast 0.9 ns, so 16 rows reach 18-19 GFLOP/s per core where workgroup memory
// tiles reach 5; 32 rows gain another 5 % and triple the compile time.
// TA: A is stored [k, m]; TB: B is stored [n, k]. The host guarantees that k, n, every leading dimension and every offset are multiples of 4
// (m as well under TA), and that subgroups have exactly $SG lanes. TAIL, for TA without TB, takes any k: up to three more steps of one each.
@group(0) @binding($next) var<storage, read> a: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> b: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> bias: array<$T>;
@group(0) @binding($next) var<storage, read_write> c: array<vec4<$T>>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

fn act(x: f32) -> f32 {
  return $ACT;
}

@compute @workgroup_size($SG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let row0 = wid.y * ${ROWS}u;
  let col4 = min(wid.x * ${SG}u + lane, p.n / 4u - 1u);
  let baseA = (p.offsetA + wid.z * p.batchA) / 4u;
  let baseB = (p.offsetB + wid.z * p.batchB) / 4u;
//#repeat r ROWS
  var acc$r = vec4<f32>();
//#end
  // Which vec4s of the A block this lane fetches; rows past the end repeat the last one, their results are not stored.
//#repeat q QUADS
//#if TA
  let q$q = min(${q}u * ${SG}u + lane, ${ROWS - 1}u);
  var ia$q = baseA + (q$q / ${ROWS / 4}u) * (p.lda / 4u) + min(row0 / 4u + q$q % ${ROWS / 4}u, p.m / 4u - 1u);
//#else
  var ia$q = baseA + min(row0 + ${q}u * ${SG}u + lane, p.m - 1u) * (p.lda / 4u);
//#endif
//#end
//#if TB
  var ib = baseB + col4 * p.ldb;
  let stepB = p.ldb / 4u;
//#else
  var ib = baseB + col4;
  let stepB = p.ldb / 4u;
//#endif
//#if TAIL
  let whole = p.k / 4u * 4u;
  for (var k = 0u; k < whole; k += 4u) {
//#else
  for (var k = 0u; k < p.k; k += 4u) {
//#endif
//#repeat q QUADS
    let a$q = vec4<f32>(a[ia$q]);
//#end
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
    let u$g = subgroupBroadcast(a${(0 * ROWS4 + g) / SG}, ${(0 * ROWS4 + g) % SG}u);
    let v$g = subgroupBroadcast(a${(1 * ROWS4 + g) / SG}, ${(1 * ROWS4 + g) % SG}u);
    let w$g = subgroupBroadcast(a${(2 * ROWS4 + g) / SG}, ${(2 * ROWS4 + g) % SG}u);
    let x$g = subgroupBroadcast(a${(3 * ROWS4 + g) / SG}, ${(3 * ROWS4 + g) % SG}u);
    acc${g * 4} += u$g.x * b0 + v$g.x * b1 + w$g.x * b2 + x$g.x * b3;
    acc${g * 4 + 1} += u$g.y * b0 + v$g.y * b1 + w$g.y * b2 + x$g.y * b3;
    acc${g * 4 + 2} += u$g.z * b0 + v$g.z * b1 + w$g.z * b2 + x$g.z * b3;
    acc${g * 4 + 3} += u$g.w * b0 + v$g.w * b1 + w$g.w * b2 + x$g.w * b3;
//#end
//#repeat q QUADS
    ia$q += p.lda;
//#end
//#else
//#repeat r ROWS
    let r$r = subgroupBroadcast(a${r / SG}, ${r % SG}u);
    acc$r += r$r.x * b0 + r$r.y * b1 + r$r.z * b2 + r$r.w * b3;
//#end
//#repeat q QUADS
    ia$q += 1u;
//#end
//#endif
  }
//#if TAIL
  for (var k = whole; k < p.k; k++) {
    let last = vec4<f32>(a[baseA + k * (p.lda / 4u) + min(row0 / 4u + min(lane, ${ROWS4 - 1}u), p.m / 4u - 1u)]);
    let s = vec4<f32>(b[baseB + k * (p.ldb / 4u) + col4]);
//#repeat g ROWS4
    let t$g = subgroupBroadcast(last, ${g}u);
    acc${g * 4} += t$g.x * s;
    acc${g * 4 + 1} += t$g.y * s;
    acc${g * 4 + 2} += t$g.z * s;
    acc${g * 4 + 3} += t$g.w * s;
//#end
  }
//#endif
  // The bias, zeros without one, which change no bit: a sum that began with 0 is never -0. One of columns is each lane's own, of rows the lanes fetch
  // one each and hand it round, so that there are few sites that load. It is a parameter, so that products with and without are one pipeline.
  var columns = vec4<f32>();
  if (p.biasCol != 0u) {
    let first = p.offsetBias + col4 * 4u;
    columns = vec4<f32>(f32(bias[first]), f32(bias[first + 1u]), f32(bias[first + 2u]), f32(bias[first + 3u]));
  }
//#repeat q QUADS
  var own$q = 0.0;
//#end
  if (p.biasRow != 0u) {
//#repeat q QUADS
    own$q = f32(bias[p.offsetBias + min(row0 + ${q}u * ${SG}u + lane, p.m - 1u)]);
//#end
  }
//#repeat r ROWS
  let add$r = columns + vec4<f32>(subgroupBroadcast(own${r / SG}, ${r % SG}u));
//#end
  if (wid.x * ${SG}u + lane >= p.n / 4u) {
    return;
  }
  let baseC = (p.offsetC + wid.z * p.batchC) / 4u + col4;
//#repeat r ROWS
  if (row0 + ${r}u < p.m) {
    let value = acc$r + add$r;
    c[baseC + (row0 + ${r}u) * (p.n / 4u)] = vec4<$T>(vec4<f32>(act(value.x), act(value.y), act(value.z), act(value.w)));
  }
//#end
}
