/** Backward rules of resampling: every op is linear, and each pair is the other's transposed. */
import { apply, type ResampleAttrs } from "@refl/tensor";
import type { RuleTable } from "../tape.ts";

export const resampleRules: RuleTable<ResampleAttrs> = {
  upsampleNearest2x: { backward: (_, g) => [apply("upsampleNearest2xGrad", [g], {})] },
  upsampleNearest2xGrad: { backward: (_, g) => [apply("upsampleNearest2x", [g], {})] },
  resize: {
    backward: ({ attrs, shapes }, g) => [
      apply("resizeGrad", [g], { ...attrs, size: [shapes[0]![2]!, shapes[0]![3]!] }),
    ],
  },
  resizeGrad: {
    backward: ({ attrs, shapes }, g) => [apply("resize", [g], { ...attrs, size: [shapes[0]![2]!, shapes[0]![3]!] })],
  },
};
