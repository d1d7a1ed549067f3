/** Gradient checkpointing of a module: its inputs are kept, what it computes inside is computed again on the way back. */
import { checkpointMany, isGradEnabled } from "@refl/autograd";
import { Tensor } from "@refl/tensor";
import type { Module } from "./module.ts";
import { currentRandom, withRandom } from "./random.ts";

/** What {@link recomputed} takes a module to make: a tensor, or bands of one. */
export type Recomputable = Tensor | readonly Tensor[];

/** Tensors among arguments, those in arrays included. */
const tensorsIn = (args: readonly unknown[]): Tensor[] => args.flat().filter((arg) => arg instanceof Tensor);

/** As `module.forward(...args)` with less memory and one more forward pass; dropout masks are the same both times. Gradients do not change. */
export function recomputed<Args extends unknown[], Result extends Recomputable>(
  module: Module<Args, Result>,
  ...args: Args
): Result {
  const inputs = tensorsIn(args);
  const needed = inputs.some((input) => input.history) || [...module.namedSlots()].some(([, slot]) => !slot.frozen);
  if (!needed || !isGradEnabled()) return module.forward(...args);
  const random = currentRandom();
  let single = false;
  const again = (...tensors: Tensor[]): readonly Tensor[] => {
    let next = 0;
    const replaced = args.map((arg) => {
      if (arg instanceof Tensor) return tensors[next++];
      return Array.isArray(arg) ? arg.map((item) => (item instanceof Tensor ? tensors[next++] : item)) : arg;
    });
    const made: Recomputable = withRandom(random, () => module.forward(...(replaced as Args)));
    single = made instanceof Tensor;
    return made instanceof Tensor ? [made] : made;
  };
  const outputs = checkpointMany(again, ...inputs);
  return (single ? outputs[0] : outputs) as Result;
}
