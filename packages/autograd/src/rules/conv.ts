/** Backward rules of conv ops. */
import type { ConvAttrs } from "@refl/tensor";
import type { RuleTable } from "../tape.ts";

export const convRules = {} satisfies RuleTable<ConvAttrs>;
