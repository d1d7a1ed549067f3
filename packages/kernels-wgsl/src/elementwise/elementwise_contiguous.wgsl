// Elementwise over contiguous operands of one shape: o[i] = f(a[i], b[i], c[i]), four elements to a load, four loads to a thread.
// A workgroup covers 64 * 4 vec4s, neighbours in one wave: on GPUs the loads coalesce, on software adapters the fixed cost of a
// workgroup (about 0.35 us) is spread over 1,024 elements. The last vec4 may hang over: buffers are sized in multiples of 16 bytes.
@group(0) @binding($next) var<storage, read> a: array<vec4<$A>>;
//#if BINARY
@group(0) @binding($next) var<storage, read> b: array<vec4<$B>>;
//#endif
//#if TERNARY
@group(0) @binding($next) var<storage, read> c: array<vec4<$C>>;
//#endif
@group(0) @binding($next) var<storage, read_write> o: array<vec4<$O>>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

fn f(x: $X, y: $X, z: $X) -> $R {
  $EXPR
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let base = (wid.y * num.x + wid.x) * 256u + lid;
  for (var j = 0u; j < 4u; j++) {
    let i = base + j * 64u;
    if (i < p.count4) {
      let x = vec4<$X>(a[i + p.offsets.x]);
//#if BINARY
      let y = vec4<$X>(b[i + p.offsets.y]);
//#else
      let y = vec4<$X>($X(p.s0));
//#endif
//#if TERNARY
      let z = vec4<$X>(c[i + p.offsets.z]);
//#else
      let z = vec4<$X>($X(p.s1));
//#endif
      o[i] = vec4<$O>($O(f(x.x, y.x, z.x)), $O(f(x.y, y.y, z.y)), $O(f(x.z, y.z, z.z)), $O(f(x.w, y.w, z.w)));
    }
  }
}
