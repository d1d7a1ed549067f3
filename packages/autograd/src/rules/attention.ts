/** Backward rule of attention: probabilities are computed again from the saved log-sum-exp. */
import { type AttentionAttrs, applyAll } from "@refl/tensor";
import type { RuleTable } from "../tape.ts";

export const attentionRules: RuleTable<AttentionAttrs> = {
  scaledDotProductAttention: {
    save: ({ inputs, outputs }) => [...inputs.slice(0, 3), outputs[0]!, outputs[1]!, ...inputs.slice(3)],
    backward: ({ saved, attrs, shapes }, g) => {
      const gradients = applyAll("scaledDotProductAttentionBackward", [g, ...saved], attrs);
      return shapes.map((_, i) => gradients[i] ?? null);
    },
  },
  scaledDotProductAttentionBackward: null,
};
