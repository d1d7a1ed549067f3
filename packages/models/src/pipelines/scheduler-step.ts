/** A scheduler's coefficients applied to tensors. */
import type { Tensor } from "@refl/tensor";
import type { OutputCoefficients, StepCoefficients } from "../schedulers/noise-schedule.ts";

/** sample · x + output · out, with the terms left out whose factor is 0. */
function combine(factors: OutputCoefficients, x: Tensor, out: Tensor): Tensor {
  if (factors.sample === 0) return out.mul(factors.output);
  const scaled = x.mul(factors.sample);
  return factors.output === 0 ? scaled : scaled.add(out.mul(factors.output));
}

/** The clean picture that x and the model's output imply, clamped where the scheduler clips. x, out: one shape → that shape. Has gradients. */
export function predictOriginal(step: StepCoefficients, x: Tensor, out: Tensor): Tensor {
  const original = combine(step.predOriginal, x, out);
  return step.clip === null ? original : original.clamp(-step.clip, step.clip);
}

/**
 * One sampler step from x to the previous, less noisy time. x, out: one shape; noise: that shape, standard normal, used only where
 * `step.prev.noise` is not 0. Has gradients.
 */
export function previousSample(step: StepCoefficients, x: Tensor, out: Tensor, noise: Tensor | null = null): Tensor {
  const { prev } = step;
  let result = combine(prev, x, out);
  if (step.clip !== null) {
    const original = predictOriginal(step, x, out).mul(prev.original);
    result = prev.sample === 0 && prev.output === 0 ? original : result.add(original);
  }
  return prev.noise !== 0 && noise ? result.add(noise.mul(prev.noise)) : result;
}
