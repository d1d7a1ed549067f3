// Fills count vec4s from offset with one value, eight of them to a thread; the value travels as fill's does.
@group(0) @binding($next) var<storage, read_write> o: array<vec4<$O>>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let base = (wid.y * num.x + wid.x) * 512u + lid;
//#if FLOAT
  let value = vec4<$O>($O(p.value));
//#else
  let value = vec4<$O>(bitcast<$O>(p.bits));
//#endif
  for (var j = 0u; j < 8u; j++) {
    let i = base + j * 64u;
    if (i < p.count) {
      o[p.offset + i] = value;
    }
  }
}
