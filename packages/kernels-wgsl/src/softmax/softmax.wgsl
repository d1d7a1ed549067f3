// softmax, or its logarithm under LOG, of rows whose elements lie `inner` apart: inner is the product of the sizes behind the axis, 1 for the last.
// Three sweeps: the largest, the sum of exponentials, the result. Types and folds of rows come from reduce/rows.ts.
@group(0) @binding($next) var<storage, read> a: array<S>;
@group(0) @binding($next) var<storage, read_write> o: array<S>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

@compute @workgroup_size($WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lane_of(lid);
  for (var row = row_of(wid.y * num.x + wid.x, lid); row < p.rows; row += num.x * num.y * ROWS) {
    let start = (row / p.inner) * p.inner * p.columns + row % p.inner;
    let base = p.offset + start;
    var m = X(-3.4028234e38);
    for (var j = lane; j < p.columns; j += LANES) {
      m = max(m, X(a[base + j * p.inner]));
    }
    let top = X(row_max(m, lane));
    var s = X(0.0);
    for (var j = lane; j < p.columns; j += LANES) {
      s += exp(X(a[base + j * p.inner]) - top);
    }
    let total = row_sum(s, lane);
//#if LOG
    let shift = X(log_(total));
//#else
    let scale = X(1.0 / total);
//#endif
    for (var j = lane; j < p.columns; j += LANES) {
      let x = X(a[base + j * p.inner]) - top;
//#if LOG
      o[start + j * p.inner] = S(x - shift);
//#else
      o[start + j * p.inner] = S(exp(x) * scale);
//#endif
    }
  }
}
