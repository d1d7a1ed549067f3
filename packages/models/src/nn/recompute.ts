/** Gradient checkpointing of a module: its inputs are kept, what it computes inside is computed again on the way back. */
import { checkpoint, isGradEnabled } from "@refl/autograd";
import { Tensor } from "@refl/tensor";
import type { Module } from "./module.ts";
import { currentRandom, withRandom } from "./random.ts";

/** As `module.forward(...args)` with less memory and one more forward pass; dropout masks are the same both times. */
export function recomputed<Args extends unknown[]>(module: Module<Args, Tensor>, ...args: Args): Tensor {
  const inputs = args.filter((arg) => arg instanceof Tensor);
  const needed = inputs.some((input) => input.history) || [...module.namedSlots()].some(([, slot]) => !slot.frozen);
  if (!needed || !isGradEnabled()) return module.forward(...args);
  const random = currentRandom();
  const again = (...tensors: Tensor[]): Tensor => {
    let next = 0;
    const replaced = args.map((arg) => (arg instanceof Tensor ? tensors[next++] : arg));
    return withRandom(random, () => module.forward(...(replaced as Args)));
  };
  return checkpoint(again, ...inputs);
}
