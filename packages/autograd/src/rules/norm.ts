/** Backward rules of layer norm and group norm: fused kernels from the saved statistics. */
import { applyAll, type NormAttrs, type Tensor } from "@refl/tensor";
import type { RuleTable } from "../tape.ts";

/** The gradients of x and of whichever parameters there are. */
const whole = (gradients: readonly Tensor[], inputs: number): (Tensor | null)[] =>
  Array.from({ length: inputs }, (_, i) => gradients[i] ?? null);

export const normRules: RuleTable<NormAttrs> = {
  layerNorm: {
    save: ({ inputs, outputs }) => [inputs[0]!, outputs[1]!, ...inputs.slice(1, 2)],
    backward: ({ saved, needs, shapes }, g) =>
      whole(applyAll("layerNormBackward", [g, ...saved], { parameters: needs.slice(1).includes(true) }), shapes.length),
  },
  layerNormBackward: null,
  groupNorm: {
    save: ({ inputs, outputs }) => [inputs[0]!, outputs[1]!, ...inputs.slice(1)],
    backward: ({ saved, needs, shapes, attrs: { groups, activation } }, g) =>
      whole(
        applyAll("groupNormBackward", [g, ...saved], { groups, activation, parameters: needs.slice(1).includes(true) }),
        shapes.length,
      ),
  },
  groupNormBackward: null,
};
