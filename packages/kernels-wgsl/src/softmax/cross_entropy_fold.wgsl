// Sum of the rows' losses; under MEAN divided by the number of rows that are not ignored, which is kept for the gradient.
@group(0) @binding($next) var<storage, read> losses: array<f32>;
//#if MEAN
@group(0) @binding($next) var<storage, read> classes: array<i32>;
//#endif
@group(0) @binding($next) var<storage, read_write> o: array<f32>;
//#if MEAN
@group(0) @binding($next) var<storage, read_write> counted: array<f32>;
//#endif
@group(0) @binding($next) var<uniform> p: Params;

$MATH

@compute @workgroup_size($WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lane_of(lid);
  if (row_of(wid.y * num.x + wid.x, lid) > 0u) {
    return;
  }
  var s = 0.0;
  var n = 0.0;
  for (var j = lane; j < p.count; j += LANES) {
    s += losses[j];
//#if MEAN
    n += select(1.0, 0.0, classes[p.offsetClasses + j] == p.ignored);
//#endif
  }
  let total = row_sum(s, lane);
//#if MEAN
  let count = row_sum(n, lane);
  if (lane == 0u) {
    o[0] = total / count;
    counted[0] = count;
  }
//#else
  if (lane == 0u) {
    o[0] = total;
  }
//#endif
}
