// Elementwise with broadcasting and strides: o[i] = f(a[.], b[.], c[.]) where i runs over the output in row-major order and each operand
// has its own strides (0 on broadcast axes). The host merges neighbouring axes first, so most calls have one to three axes; up to 8 fit (HIGH).
// A thread takes runs of $PER outputs that share all indices but the last: one decomposition (a division per axis, 16 ns each on lavapipe
// where a load is 6) serves the whole run. shape and strides count runs on the last axis; `inner` are the steps within a run.
@group(0) @binding($next) var<storage, read> a: array<$A>;
//#if BINARY
@group(0) @binding($next) var<storage, read> b: array<$B>;
//#endif
//#if TERNARY
@group(0) @binding($next) var<storage, read> c: array<$C>;
//#endif
@group(0) @binding($next) var<storage, read_write> o: array<$O>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

fn f(x: $X, y: $X, z: $X) -> $R {
  $EXPR
}

//#if HIGH
fn size_of(k: u32) -> u32 {
  return select(p.shape0[k & 3u], p.shape1[k & 3u], k > 3u);
}

fn stride_of(low: vec4<u32>, high: vec4<u32>, k: u32) -> u32 {
  return select(low[k & 3u], high[k & 3u], k > 3u);
}
//#else
fn size_of(k: u32) -> u32 {
  return p.shape0[k];
}

fn stride_of(low: vec4<u32>, high: vec4<u32>, k: u32) -> u32 {
  return low[k];
}
//#endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let base = (wid.y * num.x + wid.x) * 256u + lid;
  for (var j = 0u; j < 4u; j++) {
    let run = base + j * 64u;
    if (run < p.runs) {
      var rest = run;
      var ia = p.offsets.x;
      var ib = p.offsets.y;
      var ic = p.offsets.z;
      for (var axis = p.rank; axis > 0u; axis--) {
        let k = axis - 1u;
        let size = size_of(k);
        let next = rest / size;
        let index = rest - next * size;
        rest = next;
        ia += index * stride_of(p.stridesA0, p.stridesA1, k);
//#if BINARY
        ib += index * stride_of(p.stridesB0, p.stridesB1, k);
//#endif
//#if TERNARY
        ic += index * stride_of(p.stridesC0, p.stridesC1, k);
//#endif
      }
      for (var e = 0u; e < $PER; e++) {
        let x = $X(a[ia]);
//#if BINARY
        let y = $X(b[ib]);
//#else
        let y = $X(p.s0);
//#endif
//#if TERNARY
        let z = $X(c[ic]);
//#else
        let z = $X(p.s1);
//#endif
        o[run * $PER + e] = $O(f(x, y, z));
        ia += p.inner.x;
        ib += p.inner.y;
        ic += p.inner.z;
      }
    }
  }
}
