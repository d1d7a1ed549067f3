// Gradients of layer norm's w and b, summed over one chunk of rows: thread (chunk, column) writes sum(g y) and sum(g) of its rows to
// partial[chunk][0 or 1][column]; a fold over the chunks follows, so the order of additions is fixed.
@group(0) @binding($next) var<storage, read> g: array<S>;
@group(0) @binding($next) var<storage, read> a: array<S>;
@group(0) @binding($next) var<storage, read> stats: array<f32>;
@group(0) @binding($next) var<storage, read_write> partial: array<X>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

@compute @workgroup_size($WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = (wid.y * num.x + wid.x) * ${WG}u + lid;
  if (id >= p.chunks * p.columns) {
    return;
  }
  let chunk = id / p.columns;
  let column = id - chunk * p.columns;
  let end = min((chunk + 1u) * p.chunk, p.rows);
  var s = X(0.0);
  var t = X(0.0);
  for (var row = chunk * p.chunk; row < end; row++) {
    let at = row * p.columns + column;
    let h = X(g[p.offsetG + at]);
    s += h;
    t += h * (X(a[p.offset + at]) - X(stats[2u * row])) * stats[2u * row + 1u];
  }
  partial[2u * chunk * p.columns + column] = t;
  partial[(2u * chunk + 1u) * p.columns + column] = s;
}
