/** Backward rules of resample ops. */
import type { ResampleAttrs } from "@refl/tensor";
import type { RuleTable } from "../tape.ts";

export const resampleRules = {} satisfies RuleTable<ResampleAttrs>;
