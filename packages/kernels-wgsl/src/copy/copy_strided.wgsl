// Copies between two strided regions of up to 8 axes, converting the element type: o[.] = a[.], or o[.] += a[.] with ACCUMULATE.
// It makes views contiguous, writes the parts of a concatenation, places a tensor in a padded one and adds gradients to packed ones.
// A thread copies runs of $PER elements that share all indices but the last, so that one decomposition of the index serves the run.
@group(0) @binding($next) var<storage, read> a: array<$A>;
@group(0) @binding($next) var<storage, read_write> o: array<$O>;
@group(0) @binding($next) var<uniform> p: Params;

//#if HIGH
fn pick(low: vec4<u32>, high: vec4<u32>, k: u32) -> u32 {
  return select(low[k & 3u], high[k & 3u], k > 3u);
}
//#else
fn pick(low: vec4<u32>, high: vec4<u32>, k: u32) -> u32 {
  return low[k];
}
//#endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) num: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let base = (wid.y * num.x + wid.x) * 256u + lid;
  for (var j = 0u; j < 4u; j++) {
    let run = base + j * 64u;
    if (run < p.runs) {
      var rest = run;
      var src = p.offsetA;
      var dst = p.offsetO;
      for (var axis = p.rank; axis > 0u; axis--) {
        let k = axis - 1u;
        let size = pick(p.shape0, p.shape1, k);
        let next = rest / size;
        let index = rest - next * size;
        rest = next;
        src += index * pick(p.stridesA0, p.stridesA1, k);
        dst += index * pick(p.stridesO0, p.stridesO1, k);
      }
      for (var e = 0u; e < $PER; e++) {
//#if ACCUMULATE
        o[dst] = o[dst] + $O(a[src]);
//#else
//#if TO_BOOL
        o[dst] = select(0u, 1u, a[src] != $A(0));
//#else
        o[dst] = $O(a[src]);
//#endif
//#endif
        src += p.innerA;
        dst += p.innerO;
      }
    }
  }
}
