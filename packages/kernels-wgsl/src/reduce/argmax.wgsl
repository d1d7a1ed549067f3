// Index of the largest element along the last axis of a contiguous [rows, columns] input; the first one among equals.
@group(0) @binding($next) var<storage, read> a: array<$A>;
@group(0) @binding($next) var<storage, read_write> o: array<i32>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let row = (wid.y * num.x + wid.x) * 64u + lid;
  if (row >= p.rows) {
    return;
  }
  var best = a[p.offset + row * p.columns];
  var index = 0u;
  for (var j = 1u; j < p.columns; j++) {
    let x = a[p.offset + row * p.columns + j];
    if (x > best) {
      best = x;
      index = j;
    }
  }
  o[row] = i32(index);
}
