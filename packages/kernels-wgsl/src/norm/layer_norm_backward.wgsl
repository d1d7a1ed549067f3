// Gradient of layer norm by its input: with h = g w and y the normalised x, dx = (h - mean(h) - y mean(h y)) / sqrt(variance + eps).
@group(0) @binding($next) var<storage, read> g: array<S>;
@group(0) @binding($next) var<storage, read> a: array<S>;
@group(0) @binding($next) var<storage, read> stats: array<f32>;
//#if WEIGHT
@group(0) @binding($next) var<storage, read> w: array<S>;
//#endif
@group(0) @binding($next) var<storage, read_write> o: array<S>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

@compute @workgroup_size($WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lane_of(lid);
  let n = f32(p.columns * WIDTH);
  for (var row = row_of(wid.y * num.x + wid.x, lid); row < p.rows; row += num.x * num.y * ROWS) {
    let mean = X(stats[2u * row]);
    let scale = stats[2u * row + 1u];
    var s = X(0.0);
    var t = X(0.0);
    for (var j = lane; j < p.columns; j += LANES) {
      var h = X(g[p.offsetG + row * p.columns + j]);
//#if WEIGHT
      h *= X(w[p.offsetW + j]);
//#endif
      s += h;
      t += h * (X(a[p.offset + row * p.columns + j]) - mean);
    }
    let even = X(row_sum(s, lane) / n);
    let along = X(row_sum(t, lane) * scale * scale / n);
    for (var j = lane; j < p.columns; j += LANES) {
      var h = X(g[p.offsetG + row * p.columns + j]);
//#if WEIGHT
      h *= X(w[p.offsetW + j]);
//#endif
      o[row * p.columns + j] = S((h - even - (X(a[p.offset + row * p.columns + j]) - mean) * along) * scale);
    }
  }
}
