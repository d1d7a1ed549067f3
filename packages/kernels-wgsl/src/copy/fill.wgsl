// Fills count elements from offset with one value; the value travels as 32 bits, as a float for f32 and f16.
@group(0) @binding($next) var<storage, read_write> o: array<$O>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let base = (wid.y * num.x + wid.x) * 256u + lid;
  for (var j = 0u; j < 4u; j++) {
    let i = base + j * 64u;
    if (i < p.count) {
//#if FLOAT
      o[p.offset + i] = $O(p.value);
//#else
      o[p.offset + i] = bitcast<$O>(p.bits);
//#endif
    }
  }
}
