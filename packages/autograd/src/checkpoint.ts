/** Checkpointing: what happens inside a function is not kept but computed again on the way back. */
import { AutogradError, type History, scope, type Tensor } from "@refl/tensor";
import { gradientsInto, isGradEnabled, Leaf, noGradSeeing, recordMany, requireGrad, withGrad } from "./tape.ts";

/**
 * Computes `fn(...inputs)` keeping only the inputs (Chen et al. 2016). Parameters that `fn` uses get their gradients as usual.
 * `fn` must be a pure function of its inputs and parameters; random numbers in it must come from counters.
 * Throws {@link AutogradError} when `fn` uses a tensor that was computed outside from a leaf: it must be an input, or its gradient is lost.
 */
export function checkpoint(fn: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Tensor {
  return checkpointMany((...given) => [fn(...given)], ...inputs)[0]!;
}

/** As {@link checkpoint} for a function of several results, which is computed again once for the gradients of all. It must make the same number of them again. */
export function checkpointMany(fn: (...inputs: Tensor[]) => readonly Tensor[], ...inputs: Tensor[]): Tensor[] {
  if (!isGradEnabled()) return [...fn(...inputs)];
  const histories = inputs.map((t) => t.history);
  const given = new Set(histories);
  let needed = histories.some((history) => history !== null);
  const see = (history: History): void => {
    if (!(history instanceof Leaf) && !given.has(history)) {
      throw new AutogradError(
        "checkpoint: the function uses a tensor that was computed outside of it; pass it as an input, or detach() it",
      );
    }
    needed = true;
  };
  // Handles of their own: the function may return an input or a constant, whose history is not to be changed.
  const outputs = noGradSeeing(see, () =>
    scope(() =>
      fn(...inputs).map((made) => {
        if (made.history) see(made.history);
        return made.detach();
      }),
    ),
  );
  if (!needed) return outputs;
  const saved = inputs.map((t) => t.alias());
  recordMany("checkpoint", inputs, outputs, saved, (gradients) => {
    const leaves = saved.map((t, i) => (histories[i] ? requireGrad(t.detach()) : t.detach()));
    const starts = withGrad(() => fn(...leaves)).flatMap((root, i) => {
      const gradient = gradients[i] ?? null;
      return root.history && gradient ? [{ root, gradient }] : [];
    });
    gradientsInto(starts, leaves, histories);
    return histories.map(() => null);
  });
  return outputs;
}
