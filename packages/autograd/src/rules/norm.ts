/** Backward rules of norm ops. */
import type { NormAttrs } from "@refl/tensor";
import type { RuleTable } from "../tape.ts";

export const normRules = {} satisfies RuleTable<NormAttrs>;
