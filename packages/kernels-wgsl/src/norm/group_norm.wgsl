// Group norm: a row is one group of one item, `channels` stretches of `spatial` neighbouring elements; each channel has its own w and b.
// p.silu applies x sigmoid(x) to the result: a parameter, as it costs nothing and would double the pipelines. Statistics as in layer_norm.wgsl.
@group(0) @binding($next) var<storage, read> a: array<S>;
//#if WEIGHT
@group(0) @binding($next) var<storage, read> w: array<$T>;
//#endif
//#if BIAS
@group(0) @binding($next) var<storage, read> b: array<$T>;
//#endif
@group(0) @binding($next) var<storage, read_write> o: array<S>;
@group(0) @binding($next) var<storage, read_write> stats: array<f32>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

fn activated(y: X) -> X {
  if (p.silu == 0u) {
    return y;
  }
  return y / (X(1.0) + exp(-clamp(y, X(-87.0), X(87.0))));
}

@compute @workgroup_size($WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lane_of(lid);
  let columns = p.channels * p.spatial;
  let n = f32(columns * WIDTH);
  for (var row = row_of(wid.y * num.x + wid.x, lid); row < p.rows; row += num.x * num.y * ROWS) {
    let base = p.offset + row * columns;
    var s = X(0.0);
    for (var j = lane; j < columns; j += LANES) {
      s += X(a[base + j]);
    }
    let centre = row_sum(s, lane) / n;
    var d = X(0.0);
    var q = X(0.0);
    for (var j = lane; j < columns; j += LANES) {
      let x = X(a[base + j]) - X(centre);
      d += x;
      q += x * x;
    }
    let rest = row_sum(d, lane) / n;
    let scale = 1.0 / sqrt(max(row_sum(q, lane) / n - rest * rest, 0.0) + p.eps);
//#if WEIGHT
    let first = (row % p.groups) * p.channels;
//#endif
    for (var c = 0u; c < p.channels; c++) {
      var slope = scale;
//#if WEIGHT
      slope *= f32(w[p.offsetW + first + c]);
//#endif
      var shift = 0.0;
//#if BIAS
      shift = f32(b[p.offsetB + first + c]);
//#endif
      let start = c * p.spatial;
      for (var j = lane; j < p.spatial; j += LANES) {
        let y = ((X(a[base + start + j]) - X(centre)) - X(rest)) * slope + X(shift);
        o[row * columns + start + j] = S(activated(y));
      }
    }
    if (lane == 0u) {
      stats[2u * row] = centre + rest;
      stats[2u * row + 1u] = scale;
    }
  }
}
