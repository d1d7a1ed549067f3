// Sums the rows of [outer, rows, columns] input, columns counted in vec4s: thread (b, s, c) adds chunk s of column c of matrix b and writes
// o[(b * chunks + s) * columns + c], times the scale. Neighbouring threads load neighbouring vec4s. Four rows are loaded before they are added in
// pairs, so that one running sum is touched once for four loads and the chains of additions are a quarter as long as a chunk.
@group(0) @binding($next) var<storage, read> a: array<vec4<$A>>;
@group(0) @binding($next) var<storage, read_write> o: array<vec4<$O>>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = (wid.y * num.x + wid.x) * 32u + lid;
  if (id >= p.threads) {
    return;
  }
  let part = id / p.columns;
  let matrix = part / p.chunks;
  let start = (part - matrix * p.chunks) * p.chunk;
  let end = min(start + p.chunk, p.rows);
  var at = p.offset + matrix * p.matrixStride + start * p.rowStride + id - part * p.columns;
  var sum = vec4<f32>();
  var row = start;
  for (; row + 4u <= end; row += 4u) {
    let x0 = vec4<f32>(a[at]);
    let x1 = vec4<f32>(a[at + p.rowStride]);
    let x2 = vec4<f32>(a[at + 2u * p.rowStride]);
    let x3 = vec4<f32>(a[at + 3u * p.rowStride]);
    sum += (x0 + x1) + (x2 + x3);
    at += 4u * p.rowStride;
  }
  for (; row < end; row++) {
    sum += vec4<f32>(a[at]);
    at += p.rowStride;
  }
  o[id] = vec4<$O>(sum * p.scale);
}
