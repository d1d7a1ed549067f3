// Reduces strided input to one value per output: thread (i, s) folds chunk s of output i's elements into o[i * chunks + s].
// With more than one chunk a second call folds the chunks, so the order of additions is fixed and no barrier or atomic is needed.
// DEVIATION folds (x - m[i])^2 for the second pass of a two-pass variance.
@group(0) @binding($next) var<storage, read> a: array<$A>;
//#if DEVIATION
@group(0) @binding($next) var<storage, read> m: array<f32>;
//#endif
@group(0) @binding($next) var<storage, read_write> o: array<$O>;
@group(0) @binding($next) var<uniform> p: Params;

fn fold(acc: $X, x: $X) -> $X {
  return $FOLD;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = (wid.y * num.x + wid.x) * 64u + lid;
  if (id >= p.outputs * p.chunks) {
    return;
  }
  let i = id / p.chunks;
  let s = id - i * p.chunks;
  var rest = i;
  var base = p.offset;
  for (var k = 4u; k > 0u; k--) {
    let size = p.keptShape[k - 1u];
    if (size > 1u) {
      let next = rest / size;
      base += (rest - next * size) * p.keptStrides[k - 1u];
      rest = next;
    }
  }
  let start = s * p.chunk;
  let end = min(start + p.chunk, p.count);
  let inner = p.foldShape.y;
  var outer = start / inner;
  var j = start - outer * inner;
//#if DEVIATION
  let mean = m[i];
//#endif
  var acc = $X($INIT);
  for (var e = start; e < end; e++) {
    let x = $X(a[base + outer * p.foldStrides.x + j * p.foldStrides.y]);
//#if DEVIATION
    let d = x - mean;
    acc = fold(acc, d * d);
//#else
    acc = fold(acc, x);
//#endif
    j++;
    if (j == inner) {
      j = 0u;
      outer++;
    }
  }
  o[id] = $O(acc * $X(p.scale));
}
