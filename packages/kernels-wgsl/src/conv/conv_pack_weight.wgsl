// Lays weights out as [rows, window, 4 * groups] for the products over channels-last images: element (r, t, c) is w[r * rowStep + c * channelStep + t],
// the window walked from element `start` in steps of `turn` (-1 turns it round), zeros in the channels that fill up the last vec4. Rows are output channels going forward; for dX they are
// input channels. A thread writes one row and channel group, all of its window.
@group(0) @binding($next) var<storage, read> w: array<$T>;
@group(0) @binding($next) var<storage, read_write> o: array<vec4<$T>>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = (wid.y * num.x + wid.x) * 64u + lid;
  if (id >= p.rows * p.groups) {
    return;
  }
  let row = id / p.groups;
  let g = id - row * p.groups;
  // Channels past the last repeat it and are zeroed: four load sites without branches.
  let last = min(p.channels - g * 4u, 4u) - 1u;
  let step = p.channelStep;
  let base = p.offset + row * p.rowStep + g * 4u * p.channelStep;
  for (var t = 0u; t < p.window; t++) {
    let at = base + p.start + t * p.turn;
    let value = vec4<$T>(w[at], w[at + min(1u, last) * step], w[at + min(2u, last) * step], w[at + last * step]);
    o[(row * p.window + t) * p.groups + g] = select(value, vec4<$T>(), vec4<u32>(0u, 1u, 2u, 3u) > vec4<u32>(last));
  }
}
