// Nearest upsampling by two: every pixel becomes a 2 x 2 block; with BACKWARD every pixel is the sum of its block. A thread handles one pixel of
// the small image [lines, width]; its block is two vec2s in lines 2y and 2y + 1 of the large one, aligned at every width.
//#if BACKWARD
@group(0) @binding($next) var<storage, read> large: array<vec2<$T>>;
@group(0) @binding($next) var<storage, read_write> small: array<$T>;
//#else
@group(0) @binding($next) var<storage, read> small: array<$T>;
@group(0) @binding($next) var<storage, read_write> large: array<vec2<$T>>;
//#endif
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let start = (wid.y * num.x + wid.x) * 256u + lid;
  for (var j = 0u; j < 4u; j++) {
    let i = start + j * 64u;
    if (i < p.count) {
      let at = i + (i / p.width) * p.width;
//#if BACKWARD
      let pair = vec2<f32>(large[p.offset / 2u + at]) + vec2<f32>(large[p.offset / 2u + at + p.width]);
      small[i] = $T(pair.x + pair.y);
//#else
      let value = vec2<$T>(small[p.offset + i]);
      large[at] = value;
      large[at + p.width] = value;
//#endif
    }
  }
}
