/** Backward rules of softmax ops. */
import type { SoftmaxAttrs } from "@refl/tensor";
import type { RuleTable } from "../tape.ts";

export const softmaxRules = {} satisfies RuleTable<SoftmaxAttrs>;
