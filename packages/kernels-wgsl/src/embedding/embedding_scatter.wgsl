// Gradient of the table: the thread of an id's first position adds the gradients of all its positions, in their order, along embedding_link's chain.
// The table was filled with zeros; rows without a position stay so, and the work does not grow with the table.
@group(0) @binding($next) var<storage, read> g: array<$E>;
@group(0) @binding($next) var<storage, read> ids: array<u32>;
@group(0) @binding($next) var<storage, read> next: array<u32>;
@group(0) @binding($next) var<storage, read> later: array<u32>;
@group(0) @binding($next) var<storage, read_write> o: array<$E>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = (wid.y * num.x + wid.x) * 64u + lid;
  let first = id / p.columns;
  let column = id - first * p.columns;
  if (first >= p.count || later[min(first, p.count - 1u)] != 0u) {
    return;
  }
  let row = ids[p.offsetIds + first];
  if (row >= p.rows) {
    return;
  }
  var sum = $X();
  for (var i = first; i < p.count; i = next[i]) {
    sum += $X(g[p.offset + i * p.columns + column]);
  }
  o[row * p.columns + column] = $E(sum);
}
