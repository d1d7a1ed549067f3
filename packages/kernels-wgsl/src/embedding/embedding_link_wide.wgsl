// Links each position to the next one with the same id, as embedding_link, and compares with four ids at a time; offset and blocks count fours.
@group(0) @binding($next) var<storage, read> ids: array<vec4<u32>>;
@group(0) @binding($next) var<storage, read_write> next: array<u32>;
@group(0) @binding($next) var<storage, read_write> later: array<u32>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let i = (wid.y * num.x + wid.x) * 64u + lid;
  let first = i / 4u;
  if (first >= p.blocks) {
    return;
  }
  let around = ids[p.offsetIds + first];
  let lane = i - 4u * first;
  let own = select(select(around.x, around.y, lane == 1u), select(around.z, around.w, lane == 3u), lane > 1u);
  var same = (around == vec4<u32>(own)) & (vec4<u32>(0u, 1u, 2u, 3u) > vec4<u32>(lane));
  var at = first;
  while (!any(same)) {
    at++;
    if (at >= p.blocks) {
      break;
    }
    same = ids[p.offsetIds + at] == vec4<u32>(own);
  }
  let j = 4u * at + select(select(select(3u, 2u, same.z), 1u, same.y), 0u, same.x);
  if (at < p.blocks) {
    next[i] = j;
    later[j] = 1u;
  } else {
    next[i] = 4u * p.blocks;
  }
}
