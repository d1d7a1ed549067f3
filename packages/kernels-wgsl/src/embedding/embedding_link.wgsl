// Links each position to the next one with the same id: next[i] is that position, or `count`; later[i] is 1 where an earlier position has the id.
// Every element of later is written by at most one thread, because a position is the next of only one other.
@group(0) @binding($next) var<storage, read> ids: array<u32>;
@group(0) @binding($next) var<storage, read_write> next: array<u32>;
@group(0) @binding($next) var<storage, read_write> later: array<u32>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let i = (wid.y * num.x + wid.x) * 64u + lid;
  if (i >= p.count) {
    return;
  }
  let own = ids[p.offsetIds + i];
  var j = i + 1u;
  while (j < p.count && ids[p.offsetIds + j] != own) {
    j++;
  }
  next[i] = j;
  if (j < p.count) {
    later[j] = 1u;
  }
}
