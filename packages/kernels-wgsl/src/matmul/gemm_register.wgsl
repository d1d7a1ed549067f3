// C[b] = act(A[b] B[b] + bias) by register blocking alone: a thread computes a 4 x 4 block of C, so that each value it loads is used four
// times, and the 8 x 8 threads of a workgroup read the same rows and columns, which the hardware's cache serves. No workgroup memory, no barrier.
// Loads are scalars over free strides; rows and columns past the end repeat the last one, their results are not stored.
@group(0) @binding($next) var<storage, read> a: array<$T>;
@group(0) @binding($next) var<storage, read> b: array<$T>;
//#if BIAS
@group(0) @binding($next) var<storage, read> bias: array<$T>;
//#endif
@group(0) @binding($next) var<storage, read_write> c: array<$T>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

fn act(x: f32) -> f32 {
  return $ACT;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let row0 = wid.y * 32u + (lid / 8u) * 4u;
  let col0 = wid.x * 32u + (lid % 8u) * 4u;
//#repeat i 4
  var ia$i = p.offsetA + wid.z * p.batchA + min(row0 + ${i}u, p.m - 1u) * p.rowA;
  var ib$i = p.offsetB + wid.z * p.batchB + min(col0 + ${i}u, p.n - 1u) * p.colB;
  var acc$i = vec4<f32>();
//#end
  for (var k = 0u; k < p.k; k++) {
    let vb = vec4<f32>(f32(b[ib0]), f32(b[ib1]), f32(b[ib2]), f32(b[ib3]));
//#repeat i 4
    acc$i += f32(a[ia$i]) * vb;
    ia$i += p.colA;
    ib$i += p.rowB;
//#end
  }
  var acc = array<vec4<f32>, 4>(acc0, acc1, acc2, acc3);
  for (var i = 0u; i < 4u && row0 + i < p.m; i++) {
    for (var j = 0u; j < 4u && col0 + j < p.n; j++) {
      var value = acc[i][j];
//#if BIAS
      value += f32(bias[p.offsetBias + (row0 + i) * p.biasRow + (col0 + j) * p.biasCol]);
//#endif
      c[p.offsetC + wid.z * p.batchC + (row0 + i) * p.n + col0 + j] = $T(act(value));
    }
  }
}
