// First step of group norm's gradient: for each channel of each item, sum(h y) and sum(h), with y the normalised x and h the gradient before
// the activation. A row is one channel of one item; sums is [items][2][channels], so that a fold over the items gives dw and db.
@group(0) @binding($next) var<storage, read> g: array<S>;
@group(0) @binding($next) var<storage, read> a: array<S>;
@group(0) @binding($next) var<storage, read> stats: array<f32>;
//#if WEIGHT
@group(0) @binding($next) var<storage, read> w: array<$T>;
//#endif
//#if BIAS
@group(0) @binding($next) var<storage, read> b: array<$T>;
//#endif
@group(0) @binding($next) var<storage, read_write> sums: array<f32>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

@compute @workgroup_size($WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lane_of(lid);
  let channels = p.groups * p.channels;
  for (var row = row_of(wid.y * num.x + wid.x, lid); row < p.rows; row += num.x * num.y * ROWS) {
    let item = row / channels;
    let channel = row - item * channels;
    let group = row / p.channels;
    let mean = stats[2u * group];
    let scale = stats[2u * group + 1u];
    var weight = 1.0;
//#if WEIGHT
    weight = f32(w[p.offsetW + channel]);
//#endif
    var shift = 0.0;
//#if BIAS
    shift = f32(b[p.offsetB + channel]);
//#endif
    var s = X(0.0);
    var t = X(0.0);
    for (var j = lane; j < p.spatial; j += LANES) {
      let y = (X(a[p.offset + row * p.spatial + j]) - X(mean)) * scale;
      var h = X(g[p.offsetG + row * p.spatial + j]);
      if (p.silu != 0u) {
        let z = y * weight + X(shift);
        let gate = X(1.0) / (X(1.0) + exp(-clamp(z, X(-87.0), X(87.0))));
        h *= gate * (X(1.0) + z * (X(1.0) - gate));
      }
      s += h;
      t += h * y;
    }
    let even = row_sum(s, lane);
    let along = row_sum(t, lane);
    if (lane == 0u) {
      sums[2u * item * channels + channel] = along;
      sums[(2u * item + 1u) * channels + channel] = even;
    }
  }
}
