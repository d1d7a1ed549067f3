// Adds the splits of a weight gradient [splits, rows, window, 4 * groups] and lays the sum out as [rows, channels, window]; the order of additions
// is fixed. A thread makes one row and channel group, all of its window.
@group(0) @binding($next) var<storage, read> parts: array<vec4<f32>>;
@group(0) @binding($next) var<storage, read_write> o: array<$T>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = (wid.y * num.x + wid.x) * 64u + lid;
  if (id >= p.rows * p.groups) {
    return;
  }
  let row = id / p.groups;
  let g = id - row * p.groups;
  let count = min(p.channels - g * 4u, 4u);
  let base = (row * p.channels + g * 4u) * p.window;
  for (var t = 0u; t < p.window; t++) {
    var at = (row * p.window + t) * p.groups + g;
    var total = vec4<f32>();
    for (var s = 0u; s < p.splits; s++) {
      total += parts[at];
      at += p.rows * p.window * p.groups;
    }
    for (var i = 0u; i < count; i++) {
      o[base + i * p.window + t] = $T(total[i]);
    }
  }
}
