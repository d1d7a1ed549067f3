// The second half of the global norm, on one thread: control = (clip coefficient, 1 when finite else 0, norm, unused).
// The coefficient is min(1, max / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_; max <= 0 never clips.
//#if SCALED
// Gradients come times the loss's scale: the norm is told without it, the coefficient takes it away, and control.w is the scale. Then the scale follows the rule of
// torch.amp.GradScaler: scaler[0] = (scale, good steps since it changed, growth factor, backoff factor), scaler[1].x = growth interval.
//#endif
@group(0) @binding($next) var<storage, read> partial: array<f32>;
@group(0) @binding($next) var<storage, read_write> control: array<vec4<f32>>;
//#if SCALED
@group(0) @binding($next) var<storage, read_write> scaler: array<vec4<f32>>;
//#endif
@group(0) @binding($next) var<uniform> p: Params;

@compute @workgroup_size(1)
fn main() {
  var sum = 0.0;
  for (var i = 0u; i < p.count; i++) {
    sum += partial[i];
  }
//#if SCALED
  let state = scaler[0];
  let norm = sqrt(sum) / state.x;
//#else
  let norm = sqrt(sum);
//#endif
  // By bits: comparisons with NaN are unspecified. An infinite sum of squares also means that no step should be taken.
  let finite = (bitcast<u32>(sum) & 0x7f800000u) != 0x7f800000u;
  let limited = select(1.0, min(1.0, p.limit / (norm + 1e-6)), p.limit > 0.0);
//#if SCALED
  control[0] = vec4<f32>(select(0.0, limited / state.x, finite), select(0.0, 1.0, finite), norm, state.x);
  if (!finite) {
    scaler[0] = vec4<f32>(state.x * state.w, 0.0, state.zw);
  } else if (state.y + 1.0 >= scaler[1].x) {
    let grown = state.x * state.z;
    scaler[0] = vec4<f32>(select(grown, state.x, (bitcast<u32>(grown) & 0x7f800000u) == 0x7f800000u), 0.0, state.zw);
  } else {
    scaler[0] = vec4<f32>(state.x, state.y + 1.0, state.zw);
  }
//#else
  control[0] = vec4<f32>(select(0.0, limited, finite), select(0.0, 1.0, finite), norm, 0.0);
//#endif
}
