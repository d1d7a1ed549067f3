// Rows of a table by id: o[i, :] = table[ids[i], :], one thread per element. An id outside the table gives a row of zeros.
@group(0) @binding($next) var<storage, read> table: array<$T>;
@group(0) @binding($next) var<storage, read> ids: array<i32>;
@group(0) @binding($next) var<storage, read_write> o: array<$T>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = (wid.y * num.x + wid.x) * 64u + lid;
  if (id >= p.count * p.width) {
    return;
  }
  let i = id / p.width;
  let row = ids[p.offsetIds + i];
  var value = $T(0);
  if (row >= 0 && u32(row) < p.rows) {
    value = table[p.offsetTable + u32(row) * p.width + (id - i * p.width)];
  }
  o[id] = value;
}
