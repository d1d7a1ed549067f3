// copy_flat counted in vec4s, for much memory whose offsets and count four divides: four vec4s to a thread.
@group(0) @binding($next) var<storage, read> a: array<vec4<$A>>;
@group(0) @binding($next) var<storage, read_write> o: array<vec4<$O>>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let base = (wid.y * num.x + wid.x) * 256u + lid;
  for (var j = 0u; j < 4u; j++) {
    let i = base + j * 64u;
    if (i < p.count) {
//#if ACCUMULATE
      o[p.offsetO + i] = o[p.offsetO + i] + vec4<$O>(a[p.offsetA + i]);
//#else
      o[p.offsetO + i] = vec4<$O>(a[p.offsetA + i]);
//#endif
    }
  }
}
