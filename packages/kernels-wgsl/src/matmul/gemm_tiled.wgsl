// C[b] = act(A[b] B[b] + bias): the portable tile. 64 threads compute a 64 x 64 block of C, 8 x 8 each, from 16-deep slices of A and B in
// workgroup memory. Loads are guarded scalars over free strides, so any size and every transpose form is this one text; each value loaded
// is used 64 times, which hides their cost on GPUs. (Software adapters prefer gemm_subgroup, by a factor of four.)
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

// [k][m] and [k][n]: the inner products read rows of both.
var<workgroup> tileA: array<array<f32, 64>, 16>;
var<workgroup> tileB: array<array<f32, 64>, 16>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let row0 = wid.y * 64u;
  let col0 = wid.x * 64u;
  let baseA = p.offsetA + wid.z * p.batchA;
  let baseB = p.offsetB + wid.z * p.batchB;
  let y = (lid / 8u) * 8u;
  let x = (lid % 8u) * 8u;
  var acc: array<array<f32, 8>, 8>;
  for (var k0 = 0u; k0 < p.k; k0 += 16u) {
    for (var k = 0u; k < 16u; k++) {
      let inside = k0 + k < p.k;
      var va = 0.0;
      if (inside && row0 + lid < p.m) {
        va = f32(a[baseA + (row0 + lid) * p.rowA + (k0 + k) * p.colA]);
      }
      tileA[k][lid] = va;
      var vb = 0.0;
      if (inside && col0 + lid < p.n) {
        vb = f32(b[baseB + (k0 + k) * p.rowB + (col0 + lid) * p.colB]);
      }
      tileB[k][lid] = vb;
    }
    workgroupBarrier();
    for (var k = 0u; k < 16u; k++) {
      var vb: array<f32, 8>;
      for (var j = 0u; j < 8u; j++) {
        vb[j] = tileB[k][x + j];
      }
      for (var i = 0u; i < 8u; i++) {
        let va = tileA[k][y + i];
        for (var j = 0u; j < 8u; j++) {
          acc[i][j] += va * vb[j];
        }
      }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < 8u; i++) {
    let row = row0 + y + i;
    for (var j = 0u; j < 8u; j++) {
      let col = col0 + x + j;
      if (row < p.m && col < p.n) {
        var value = acc[i][j];
//#if BIAS
        value += f32(bias[p.offsetBias + row * p.biasRow + col * p.biasCol]);
//#endif
        c[p.offsetC + wid.z * p.batchC + row * p.n + col] = $T(act(value));
      }
    }
  }
}
