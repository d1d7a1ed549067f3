/** Checkpointing: what happens inside a function is not kept but computed again on the way back. */
import { AutogradError, type History, scope, type Tensor } from "@refl/tensor";
import { gradientsInto, isGradEnabled, Leaf, noGradSeeing, recordNode, requireGrad, withGrad } from "./tape.ts";

/**
 * Computes `fn(...inputs)` keeping only the inputs (Chen et al. 2016). Parameters that `fn` uses get their gradients as usual.
 * `fn` must be a pure function of its inputs and parameters; random numbers in it must come from counters.
 * Throws {@link AutogradError} when `fn` uses a tensor that was computed outside from a leaf: it must be an input, or its gradient is lost.
 */
export function checkpoint(fn: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Tensor {
  if (!isGradEnabled()) return fn(...inputs);
  const given = new Set(inputs.map((t) => t.history));
  let needed = inputs.some((t) => t.history !== null);
  const see = (history: History): void => {
    if (!(history instanceof Leaf) && !given.has(history)) {
      throw new AutogradError(
        "checkpoint: the function uses a tensor that was computed outside of it; pass it as an input, or detach() it",
      );
    }
    needed = true;
  };
  // A handle of its own: the function may return an input or a constant, whose history is not to be changed.
  const output = noGradSeeing(see, () =>
    scope(() => {
      const made = fn(...inputs);
      if (made.history) see(made.history);
      return made.detach();
    }),
  );
  if (!needed) return output;
  const saved = inputs.map((t) => t.alias());
  const needs = inputs.map((t) => t.history !== null);
  return recordNode("checkpoint", inputs, output, saved, (gradient) => {
    const leaves = saved.map((t, i) => (needs[i] ? requireGrad(t.detach()) : t.detach()));
    const again = withGrad(() => fn(...leaves));
    return again.history ? gradientsInto(again, leaves, gradient) : leaves.map(() => null);
  });
}
