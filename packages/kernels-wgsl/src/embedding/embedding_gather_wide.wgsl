// Rows of w by id, counted in vec4s: a thread copies four vec4s of one row, a quarter row apart, so that it divides and looks an id up once for
// four loads. An id outside the table gives a row of zeros.
@group(0) @binding($next) var<storage, read> w: array<vec4<$T>>;
@group(0) @binding($next) var<storage, read> ids: array<u32>;
@group(0) @binding($next) var<storage, read_write> o: array<vec4<$T>>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = (wid.y * num.x + wid.x) * 64u + lid;
  let position = id / p.quarter;
  if (position >= p.count) {
    return;
  }
  let row = ids[p.offsetIds + position];
  let column = id - position * p.quarter;
  let start = p.offset + row * 4u * p.quarter + column;
  let target_start = position * 4u * p.quarter + column;
  for (var k = 0u; k < 4u; k++) {
    var x = vec4<$T>();
    if (row < p.rows) {
      x = w[start + k * p.quarter];
    }
    o[target_start + k * p.quarter] = x;
  }
}
