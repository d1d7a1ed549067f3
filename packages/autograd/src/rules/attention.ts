/** Backward rules of attention ops. */
import type { AttentionAttrs } from "@refl/tensor";
import type { RuleTable } from "../tape.ts";

export const attentionRules = {} satisfies RuleTable<AttentionAttrs>;
