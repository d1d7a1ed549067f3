// Elementwise with broadcasting and strides: o[i] = f(a[.], b[.], c[.]) where i runs over the output in row-major order and each operand
// has its own strides (0 on broadcast axes). The host merges neighbouring axes first, so most calls have one to three axes; up to 8 fit.
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

fn at(v: array<vec4<u32>, 2>, k: u32) -> u32 {
  return v[k / 4u][k % 4u];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let base = (wid.y * num.x + wid.x) * 256u + lid;
  for (var j = 0u; j < 4u; j++) {
    let i = base + j * 64u;
    if (i < p.count) {
      var rest = i;
      var ia = p.offsets.x;
      var ib = p.offsets.y;
      var ic = p.offsets.z;
      for (var axis = p.rank; axis > 0u; axis--) {
        let k = axis - 1u;
        let size = at(array(p.shape0, p.shape1), k);
        let next = rest / size;
        let index = rest - next * size;
        rest = next;
        ia += index * at(array(p.stridesA0, p.stridesA1), k);
//#if BINARY
        ib += index * at(array(p.stridesB0, p.stridesB1), k);
//#endif
//#if TERNARY
        ic += index * at(array(p.stridesC0, p.stridesC1), k);
//#endif
      }
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
      o[i] = $O(f(x, y, z));
    }
  }
}
