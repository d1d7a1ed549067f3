// Gradient of the cross-entropy: scale (softmax(x) - (1 - e) [j = class] - e / columns); scale is g (one per row under EACH), over the count under MEAN.
@group(0) @binding($next) var<storage, read> g: array<f32>;
@group(0) @binding($next) var<storage, read> a: array<S>;
@group(0) @binding($next) var<storage, read> classes: array<i32>;
@group(0) @binding($next) var<storage, read> stats: array<f32>;
//#if MEAN
@group(0) @binding($next) var<storage, read> counted: array<f32>;
//#endif
@group(0) @binding($next) var<storage, read_write> o: array<S>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

/// 1 where column j (in units of X) is the class.
fn one_hot(j: u32, class_: u32) -> X {
//#if VEC
  return select(vec4<f32>(), vec4<f32>(1.0), vec4<u32>(4u * j, 4u * j + 1u, 4u * j + 2u, 4u * j + 3u) == vec4<u32>(class_));
//#else
  return select(0.0, 1.0, j == class_);
//#endif
}

@compute @workgroup_size($WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lane_of(lid);
  for (var row = row_of(wid.y * num.x + wid.x, lid); row < p.rows; row += num.x * num.y * ROWS) {
    let class_ = classes[p.offsetClasses + row];
    let top = X(stats[2u * row]);
    let spread = X(stats[2u * row + 1u]);
//#if EACH
    var scale = g[p.offsetG + row];
//#else
    var scale = g[p.offsetG];
//#endif
//#if MEAN
    scale /= counted[0];
//#endif
    scale = select(scale, 0.0, class_ == p.ignored);
    let even = X(p.smoothing / f32(p.columns * WIDTH));
    for (var j = lane; j < p.columns; j += LANES) {
      let at = row * p.columns + j;
      let share = exp((X(a[p.offset + at]) - top) - spread);
      o[at] = S(select(X(0.0), scale * (share - even - (1.0 - p.smoothing) * one_hot(j, u32(class_))), X(scale) != X(0.0)));
    }
  }
}
