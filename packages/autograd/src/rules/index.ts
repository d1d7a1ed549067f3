/** One backward rule for every op; an op without a rule does not compile. */
import type { OpAttrs } from "@refl/tensor";
import type { RuleTable } from "../tape.ts";
import { attentionRules } from "./attention.ts";
import { convRules } from "./conv.ts";
import { copyRules } from "./copy.ts";
import { elementwiseRules } from "./elementwise.ts";
import { embeddingRules } from "./embedding.ts";
import { matmulRules } from "./matmul.ts";
import { normRules } from "./norm.ts";
import { reduceRules } from "./reduce.ts";
import { resampleRules } from "./resample.ts";
import { softmaxRules } from "./softmax.ts";
import { viewRules } from "./view.ts";

export const rules: RuleTable<OpAttrs> = {
  ...attentionRules,
  ...convRules,
  ...copyRules,
  ...elementwiseRules,
  ...embeddingRules,
  ...matmulRules,
  ...normRules,
  ...reduceRules,
  ...resampleRules,
  ...softmaxRules,
  ...viewRules,
};
