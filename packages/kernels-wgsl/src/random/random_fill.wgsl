// Counter-based random numbers, Philox 4x32-10 (Salmon et al., SC'11): element i of row r is a pure function of state[r] and i, so
// neither the batch split nor the order of work changes a number. state[r] = (seed low, seed high, stream, first block).
// A thread makes one block of four words: four uniforms, two Box-Muller pairs, four integers, or the words themselves.
@group(0) @binding($next) var<storage, read> state: array<vec4<u32>>;
@group(0) @binding($next) var<storage, read_write> o: array<$O>;
@group(0) @binding($next) var<uniform> p: Params;

$MATH

// High and low word of a 32 x 32 product, in 16-bit limbs: WGSL has no 64-bit integers.
fn mul_wide(a: u32, b: u32) -> vec2<u32> {
  let a0 = a & 0xffffu;
  let a1 = a >> 16u;
  let b0 = b & 0xffffu;
  let b1 = b >> 16u;
  let low = a0 * b0;
  let middle = a1 * b0 + (low >> 16u);
  let cross = a0 * b1 + (middle & 0xffffu);
  return vec2<u32>(a1 * b1 + (middle >> 16u) + (cross >> 16u), a * b);
}

fn philox(counter: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
  var c = counter;
  var k = seed;
  for (var round = 0u; round < 10u; round++) {
    let first = mul_wide(0xd2511f53u, c.x);
    let second = mul_wide(0xcd9e8d57u, c.z);
    c = vec4<u32>(second.x ^ c.y ^ k.x, second.y, first.x ^ c.w ^ k.y, first.y);
    k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let id = (wid.y * num.x + wid.x) * 64u + lid;
  let blocks = (p.columns + 3u) / 4u;
  if (id >= p.rows * blocks) {
    return;
  }
  let row = id / blocks;
  let quad = id - row * blocks;
  let s = state[row];
  let words = philox(vec4<u32>(s.w + quad, 0u, s.z, 0u), s.xy);
//#if WORDS
  let values = words;
//#else
//#if INTEGER
  // The high word of word * bound: uniform in [0, bound) up to bound / 2^32.
  let values = vec4<u32>(mul_wide(words.x, p.bound).x, mul_wide(words.y, p.bound).x, mul_wide(words.z, p.bound).x, mul_wide(words.w, p.bound).x) + vec4<u32>(bitcast<u32>(p.low));
//#else
  let u = vec4<f32>(words >> vec4<u32>(8u)) / 16777216.0;
//#if NORMAL
  let radius = sqrt(-2.0 * vec2<f32>(log_(1.0 - u.x), log_(1.0 - u.z)));
  let angle = 6.2831855 * u.yw;
  let values = p.shift + p.scale * vec4<f32>(radius.x * cos_(angle.x), radius.x * sin_(angle.x), radius.y * cos_(angle.y), radius.y * sin_(angle.y));
//#else
  let values = p.shift + p.scale * u;
//#endif
//#endif
//#endif
  let first = row * p.columns + quad * 4u;
  let left = min(p.columns - quad * 4u, 4u);
  for (var j = 0u; j < left; j++) {
    o[first + j] = $O(values[j]);
  }
}
