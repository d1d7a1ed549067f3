/** Backward rules of softmax, log-softmax and cross-entropy, each one fused kernel. */
import { apply, type SoftmaxAttrs } from "@refl/tensor";
import type { RuleTable } from "../tape.ts";

export const softmaxRules: RuleTable<SoftmaxAttrs> = {
  softmax: {
    save: ({ outputs }) => [outputs[0]!],
    backward: ({ saved, attrs }, g) => [apply("softmaxBackward", [g, saved[0]!], attrs)],
  },
  logSoftmax: {
    save: ({ outputs }) => [outputs[0]!],
    backward: ({ saved, attrs }, g) => [apply("logSoftmaxBackward", [g, saved[0]!], attrs)],
  },
  softmaxBackward: null,
  logSoftmaxBackward: null,
  crossEntropy: {
    save: ({ inputs, outputs }) => [...inputs, ...outputs.slice(1)],
    backward: ({ saved, attrs }, g) => [apply("crossEntropyBackward", [g, ...saved], attrs), null],
  },
  crossEntropyBackward: null,
};
