// The contiguous case of copy_strided: o[offsetO + i] = a[offsetA + i] (or +=), four elements to a thread, one scalar access site each way,
// because the two offsets need not be aligned to each other.
@group(0) @binding($next) var<storage, read> a: array<$A>;
@group(0) @binding($next) var<storage, read_write> o: array<$O>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let base = (wid.y * num.x + wid.x) * 256u + lid;
  for (var j = 0u; j < 4u; j++) {
    let i = base + j * 64u;
    if (i < p.count) {
//#if ACCUMULATE
      o[p.offsetO + i] = o[p.offsetO + i] + $O(a[p.offsetA + i]);
//#else
//#if TO_BOOL
      o[p.offsetO + i] = select(0u, 1u, a[p.offsetA + i] != $A(0));
//#else
      o[p.offsetO + i] = $O(a[p.offsetA + i]);
//#endif
//#endif
    }
  }
}
