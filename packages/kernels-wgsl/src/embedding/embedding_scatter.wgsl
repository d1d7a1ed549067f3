// The table's gradient: row r gets the sum of g[i, :] over all i with ids[i] = r, in the order of i, so that equal runs give equal bits.
// One thread per element of g; the one at an id's first occurrence adds up all of them and is the only one that writes that element of the
// (zeroed) table, so no atomics are needed. Work is quadratic in the number of ids, which are few (a batch of texts), and not in the table.
@group(0) @binding($next) var<storage, read> g: array<$T>;
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
  let column = id - i * p.width;
  let row = ids[p.offsetIds + i];
  if (row < 0 || u32(row) >= p.rows) {
    return;
  }
  for (var j = 0u; j < i; j++) {
    if (ids[p.offsetIds + j] == row) {
      return;
    }
  }
  var sum = 0.0;
  for (var j = i; j < p.count; j++) {
    if (ids[p.offsetIds + j] == row) {
      sum += f32(g[p.offsetG + j * p.width + column]);
    }
  }
  o[u32(row) * p.width + column] = $T(sum);
}
