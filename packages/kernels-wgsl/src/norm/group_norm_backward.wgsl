// Second step of group norm's gradient: dx = (h w - mean(h w) - y mean(h w y)) / sqrt(variance + eps), the means over the group put together from
// the channels' sums. Rows and names as in group_norm_sums.wgsl.
@group(0) @binding($next) var<storage, read> g: array<S>;
@group(0) @binding($next) var<storage, read> a: array<S>;
@group(0) @binding($next) var<storage, read> stats: array<f32>;
@group(0) @binding($next) var<storage, read> sums: array<f32>;
//#if WEIGHT
@group(0) @binding($next) var<storage, read> w: array<$T>;
//#endif
//#if BIAS
@group(0) @binding($next) var<storage, read> b: array<$T>;
//#endif
@group(0) @binding($next) var<storage, read_write> o: array<S>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

@compute @workgroup_size($WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lane_of(lid);
  let channels = p.groups * p.channels;
  let n = f32(p.channels * p.spatial * WIDTH);
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
    var part = vec2<f32>();
    let first = (channel / p.channels) * p.channels;
    for (var c = first + lane; c < first + p.channels; c += LANES) {
      var each = 1.0;
//#if WEIGHT
      each = f32(w[p.offsetW + c]);
//#endif
      part += each * vec2<f32>(sums[2u * item * channels + c], sums[(2u * item + 1u) * channels + c]);
    }
    let along = lanes_sum(part.x, lane) / n;
    let even = lanes_sum(part.y, lane) / n;
    for (var j = lane; j < p.spatial; j += LANES) {
      let y = (X(a[p.offset + row * p.spatial + j]) - X(mean)) * scale;
      var h = X(g[p.offsetG + row * p.spatial + j]) * weight;
      if (p.silu != 0u) {
        let z = y * weight + X(shift);
        let gate = X(1.0) / (X(1.0) + exp(-clamp(z, X(-87.0), X(87.0))));
        h *= gate * (X(1.0) + z * (X(1.0) - gate));
      }
      o[row * p.spatial + j] = S((h - X(even) - y * along) * scale);
    }
  }
}
