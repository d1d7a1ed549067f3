// C[b] = act(A[b] B[b] + bias), one thread per element of C: the first rung, for matrices too thin for a tile (vectors, heads of one column).
// Without a bias any buffer is bound in its place and not read. All operands have free row and column strides, so every transpose form is this one text.
@group(0) @binding($next) var<storage, read> a: array<$T>;
@group(0) @binding($next) var<storage, read> b: array<$T>;
@group(0) @binding($next) var<storage, read> bias: array<$T>;
@group(0) @binding($next) var<storage, read_write> c: array<$T>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

fn act(x: f32) -> f32 {
  return $ACT;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = (wid.y * num.x + wid.x) * 64u + lid;
  if (id >= p.m * p.n) {
    return;
  }
  let row = id / p.n;
  let col = id - row * p.n;
  var ia = p.offsetA + wid.z * p.batchA + row * p.rowA;
  var ib = p.offsetB + wid.z * p.batchB + col * p.colB;
  var acc = 0.0;
  for (var k = 0u; k < p.k; k++) {
    acc += f32(a[ia]) * f32(b[ib]);
    ia += p.colA;
    ib += p.rowB;
  }
  if (p.biasRow + p.biasCol != 0u) {
    acc += f32(bias[p.offsetBias + row * p.biasRow + col * p.biasCol]);
  }
  c[p.offsetC + wid.z * p.batchC + id] = $T(act(acc));
}
