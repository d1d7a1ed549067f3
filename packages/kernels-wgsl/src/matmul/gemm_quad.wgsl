// C[b] = act(A[b] B[b] + bias) for adapters that compute with four lanes: gemm_subgroup with ${COLS} vec4s of columns to a lane and quads in the
// place of subgroups. A workgroup is one quad; it computes $ROWS rows by ${COLS * 16} columns. On SwiftShader a vec4 that each lane loads from
// its own place costs as much as 60 multiply-adds, a broadcast within a quad one shuffle (within a subgroup six instructions), and registers
// beyond the few that there are cost little: the larger block halves the loads.
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

@compute @workgroup_size(4)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row0 = wid.y * ${ROWS}u;
  let baseA = (p.offsetA + wid.z * p.batchA) / 4u;
  let baseB = (p.offsetB + wid.z * p.batchB) / 4u;
  let stepB = p.ldb / 4u;
//#repeat j COLS
  let col$j = wid.x * ${COLS * 4}u + ${j * 4}u + lane;
//#if TB
  var ib$j = baseB + min(col$j, p.n / 4u - 1u) * p.ldb;
//#else
  var ib$j = baseB + min(col$j, p.n / 4u - 1u);
//#endif
//#repeat r ROWS
  var acc${j * ROWS + r} = vec4<f32>();
//#end
//#end
  // Which vec4s of the A block this lane fetches; rows past the end repeat the last one, their results are not stored.
//#repeat q QUADS
//#if TA
  let q$q = ${q * 4}u + lane;
  var ia$q = baseA + (q$q / ${ROWS / 4}u) * (p.lda / 4u) + min(row0 / 4u + q$q % ${ROWS / 4}u, p.m / 4u - 1u);
//#else
  var ia$q = baseA + min(row0 + ${q * 4}u + lane, p.m - 1u) * (p.lda / 4u);
//#endif
//#end
  for (var k = 0u; k < p.k; k += 4u) {
//#repeat q QUADS
    let a$q = vec4<f32>(a[ia$q]);
//#if TA
    ia$q += p.lda;
//#else
    ia$q += 1u;
//#endif
//#end
    // A value of each row at the four steps of k.
//#repeat r ROWS
//#if TA
    let x$r = vec4<f32>(
//#repeat s 4
      quadBroadcast(a${(s * ROWS4 + r / 4) / 4}[${r % 4}], ${(s * ROWS4 + r / 4) % 4}u),
//#end
    );
//#else
    let x$r = quadBroadcast(a${r / 4}, ${r % 4}u);
//#endif
//#end
//#repeat j COLS
    {
      let s0 = vec4<f32>(b[ib$j]);
      let s1 = vec4<f32>(b[ib$j + stepB]);
      let s2 = vec4<f32>(b[ib$j + 2u * stepB]);
      let s3 = vec4<f32>(b[ib$j + 3u * stepB]);
//#if TB
      let b0 = vec4<f32>(s0.x, s1.x, s2.x, s3.x);
      let b1 = vec4<f32>(s0.y, s1.y, s2.y, s3.y);
      let b2 = vec4<f32>(s0.z, s1.z, s2.z, s3.z);
      let b3 = vec4<f32>(s0.w, s1.w, s2.w, s3.w);
      ib$j += 1u;
//#else
      let b0 = s0;
      let b1 = s1;
      let b2 = s2;
      let b3 = s3;
      ib$j += p.ldb;
//#endif
//#repeat r ROWS
      acc${j * ROWS + r} = fma(vec4<f32>(x$r.w), b3, fma(vec4<f32>(x$r.z), b2, fma(vec4<f32>(x$r.y), b1, fma(vec4<f32>(x$r.x), b0, acc${j * ROWS + r}))));
//#end
    }
//#end
  }
  let baseC = (p.offsetC + wid.z * p.batchC) / 4u;
//#repeat j COLS
  if (col$j < p.n / 4u) {
//#if BIAS
//#if BIAS_COL
    let first = p.offsetBias + col$j * 4u;
    let add = vec4<f32>(f32(bias[first]), f32(bias[first + 1u]), f32(bias[first + 2u]), f32(bias[first + 3u]));
//#endif
//#endif
//#repeat r ROWS
    if (row0 + ${r}u < p.m) {
      var value = acc${j * ROWS + r};
//#if BIAS
//#if BIAS_COL
      value += add;
//#else
      value += vec4<f32>(f32(bias[p.offsetBias + row0 + ${r}u]));
//#endif
//#endif
      c[baseC + (row0 + ${r}u) * (p.n / 4u) + col$j] = vec4<$T>(vec4<f32>(act(value.x), act(value.y), act(value.z), act(value.w)));
    }
//#end
  }
//#end
}
