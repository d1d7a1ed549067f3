// Layer norm of rows: (x - mean) / sqrt(variance + eps), times w and plus b where given. The variance is taken in a second sweep, as squared
// distances from the first sweep's mean; the distances' own sum corrects that mean, so that a large offset costs no digits.
// stats keeps (mean, 1 / sqrt(variance + eps)) of each row. Types and folds of rows come from reduce/rows.ts.
@group(0) @binding($next) var<storage, read> a: array<S>;
//#if WEIGHT
@group(0) @binding($next) var<storage, read> w: array<S>;
//#endif
//#if BIAS
@group(0) @binding($next) var<storage, read> b: array<S>;
//#endif
@group(0) @binding($next) var<storage, read_write> o: array<S>;
@group(0) @binding($next) var<storage, read_write> stats: array<f32>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

@compute @workgroup_size($WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lane_of(lid);
  let n = f32(p.columns * WIDTH);
  for (var row = row_of(wid.y * num.x + wid.x, lid); row < p.rows; row += num.x * num.y * ROWS) {
    let base = p.offset + row * p.columns;
    var s = X(0.0);
    for (var j = lane; j < p.columns; j += LANES) {
      s += X(a[base + j]);
    }
    let centre = row_sum(s, lane) / n;
    var d = X(0.0);
    var q = X(0.0);
    for (var j = lane; j < p.columns; j += LANES) {
      let x = X(a[base + j]) - X(centre);
      d += x;
      q += x * x;
    }
    let rest = row_sum(d, lane) / n;
    let scale = 1.0 / sqrt(max(row_sum(q, lane) / n - rest * rest, 0.0) + p.eps);
    for (var j = lane; j < p.columns; j += LANES) {
      var y = ((X(a[base + j]) - X(centre)) - X(rest)) * scale;
//#if WEIGHT
      y *= X(w[p.offsetW + j]);
//#endif
//#if BIAS
      y += X(b[p.offsetB + j]);
//#endif
      o[row * p.columns + j] = S(y);
    }
    if (lane == 0u) {
      stats[2u * row] = centre + rest;
      stats[2u * row + 1u] = scale;
    }
  }
}
