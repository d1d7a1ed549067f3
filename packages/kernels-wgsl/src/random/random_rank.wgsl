// A permutation from random words: o[rank of word i] = i, where ties rank by position. Quadratic, exact, and without any exchange between threads.
@group(0) @binding($next) var<storage, read> words: array<u32>;
@group(0) @binding($next) var<storage, read_write> o: array<i32>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let i = (wid.y * num.x + wid.x) * 64u + lid;
  if (i >= p.count) {
    return;
  }
  let mine = words[i];
  var rank = 0u;
  for (var j = 0u; j < p.count; j++) {
    let other = words[j];
    if (other < mine || (other == mine && j < i)) {
      rank++;
    }
  }
  o[rank] = i32(i);
}
