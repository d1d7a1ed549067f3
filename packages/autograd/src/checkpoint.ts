/** Checkpointing: what happens inside a function is not kept but computed again on the way back. */
import { scope, type Tensor } from "@refl/tensor";
import { gradientsInto, isGradEnabled, noGrad, recordNode, requireGrad, withGrad } from "./tape.ts";

/**
 * Computes `fn(...inputs)` keeping only the inputs (Chen et al. 2016). Parameters that `fn` uses get their gradients as usual.
 * `fn` must be a pure function of its inputs and parameters; random numbers in it must come from counters.
 */
export function checkpoint(fn: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Tensor {
  if (!isGradEnabled()) return fn(...inputs);
  const output = noGrad(() => scope(() => fn(...inputs)));
  const saved = inputs.map((t) => t.alias());
  const needs = inputs.map((t) => t.history !== null);
  return recordNode("checkpoint", inputs, output, saved, (gradient) => {
    const leaves = saved.map((t, i) => (needs[i] ? requireGrad(t.detach()) : t.detach()));
    const again = withGrad(() => fn(...leaves));
    return gradientsInto(again, leaves, gradient);
  });
}
