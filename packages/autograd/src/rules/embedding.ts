/** Backward rules of embedding ops. */
import type { EmbeddingAttrs } from "@refl/tensor";
import type { RuleTable } from "../tape.ts";

export const embeddingRules = {} satisfies RuleTable<EmbeddingAttrs>;
