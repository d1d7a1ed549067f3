// Gradient of softmax from its result y: y (g - sum(g y)); under LOG, of log-softmax: g - exp(y) sum(g). Rows as in softmax.wgsl.
@group(0) @binding($next) var<storage, read> g: array<S>;
@group(0) @binding($next) var<storage, read> y: array<S>;
@group(0) @binding($next) var<storage, read_write> o: array<S>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

@compute @workgroup_size($WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lane_of(lid);
  for (var row = row_of(wid.y * num.x + wid.x, lid); row < p.rows; row += num.x * num.y * ROWS) {
    let start = (row / p.inner) * p.inner * p.columns + row % p.inner;
    var s = X(0.0);
    for (var j = lane; j < p.columns; j += LANES) {
      let at = start + j * p.inner;
//#if LOG
      s += X(g[p.offsetG + at]);
//#else
      s += X(g[p.offsetG + at]) * X(y[p.offsetY + at]);
//#endif
    }
    let total = X(row_sum(s, lane));
    for (var j = lane; j < p.columns; j += LANES) {
      let at = start + j * p.inner;
      let slope = X(g[p.offsetG + at]);
      let value = X(y[p.offsetY + at]);
//#if LOG
      o[at] = S(slope - exp(value) * total);
//#else
      o[at] = S(value * (slope - total));
//#endif
    }
  }
}
