// Sums each row of [rows, columns] input and multiplies by the scale. A lane takes every LANES-th element, four of them at a time, added in pairs.
// Types and folds of rows come from reduce/rows.ts.
@group(0) @binding($next) var<storage, read> a: array<S>;
@group(0) @binding($next) var<storage, read_write> o: array<$O>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

@compute @workgroup_size($WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lane_of(lid);
  for (var row = row_of(wid.y * num.x + wid.x, lid); row < p.rows; row += num.x * num.y * ROWS) {
    let end = p.offset + row * p.rowStride + p.columns;
    var at = p.offset + row * p.rowStride + lane;
    var sum = X(0.0);
    for (; at + 3u * LANES < end; at += 4u * LANES) {
      sum += (X(a[at]) + X(a[at + LANES])) + (X(a[at + 2u * LANES]) + X(a[at + 3u * LANES]));
    }
    for (; at < end; at += LANES) {
      sum += X(a[at]);
    }
    let total = row_sum(sum, lane);
    if (lane == 0u) {
      o[row] = $O(total * p.scale);
    }
  }
}
