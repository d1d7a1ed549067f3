// Rows of w by id. An id outside the table gives a row of zeros.
@group(0) @binding($next) var<storage, read> w: array<$E>;
@group(0) @binding($next) var<storage, read> ids: array<u32>;
@group(0) @binding($next) var<storage, read_write> o: array<$E>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = (wid.y * num.x + wid.x) * 64u + lid;
  if (id >= p.count) {
    return;
  }
  let position = id / p.columns;
  let row = ids[p.offsetIds + position];
  if (row < p.rows) {
    o[id] = w[p.offset + row * p.columns + id - position * p.columns];
  } else {
    o[id] = $E();
  }
}
