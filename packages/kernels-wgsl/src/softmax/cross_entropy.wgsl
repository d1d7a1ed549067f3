// Cross-entropy of each row of logits against an integer class, with label smoothing e:
//   loss = log sum exp(x) - (1 - e) x[class] - e mean(x), all relative to the row's largest value.
// stats keeps (largest, log of the sum of exponentials relative to it) apart, because their sum would lose the digits of large logits.
// An ignored class gives 0; a class that does not exist gives NaN.
@group(0) @binding($next) var<storage, read> a: array<S>;
@group(0) @binding($next) var<storage, read> classes: array<i32>;
@group(0) @binding($next) var<storage, read_write> losses: array<f32>;
@group(0) @binding($next) var<storage, read_write> stats: array<f32>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

@compute @workgroup_size($WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lane_of(lid);
  for (var row = row_of(wid.y * num.x + wid.x, lid); row < p.rows; row += num.x * num.y * ROWS) {
    let base = p.offset + row * p.columns;
    var m = X(-3.4028234e38);
    for (var j = lane; j < p.columns; j += LANES) {
      m = max(m, X(a[base + j]));
    }
    let top = row_max(m, lane);
    var s = X(0.0);
    var d = X(0.0);
    for (var j = lane; j < p.columns; j += LANES) {
      let x = X(a[base + j]) - X(top);
      s += exp(x);
      d += x;
    }
    let spread = log_(row_sum(s, lane));
    let distance = row_sum(d, lane);
    if (lane == 0u) {
      let class_ = classes[p.offsetClasses + row];
      let inside = class_ >= 0 && u32(class_) < p.columns * WIDTH;
      let at = select(0u, u32(class_), inside);
//#if VEC
      let own = f32(a[base + at / 4u][at % 4u]) - top;
//#else
      let own = f32(a[base + at]) - top;
//#endif
      let loss = spread - (1.0 - p.smoothing) * own - p.smoothing * distance / f32(p.columns * WIDTH);
      losses[row] = select(select(p.nan, loss, inside), 0.0, class_ == p.ignored);
      stats[2u * row] = top;
      stats[2u * row + 1u] = spread;
    }
  }
}
