// The second half of the global norm, on one thread: control = (clip coefficient, 1 when finite else 0, norm, unused).
// The coefficient is min(1, max / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_; max <= 0 never clips.
@group(0) @binding($next) var<storage, read> partial: array<f32>;
@group(0) @binding($next) var<storage, read_write> control: array<vec4<f32>>;
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(1)
fn main() {
  var sum = 0.0;
  for (var i = 0u; i < p.count; i++) {
    sum += partial[i];
  }
  let norm = sqrt(sum);
  // By bits: comparisons with NaN are unspecified. An infinite sum of squares also means that no step should be taken.
  let finite = (bitcast<u32>(sum) & 0x7f800000u) != 0x7f800000u;
  let limited = select(1.0, min(1.0, p.limit / (norm + 1e-6)), p.limit > 0.0);
  control[0] = vec4<f32>(select(0.0, limited, finite), select(0.0, 1.0, finite), norm, 0.0);
}
