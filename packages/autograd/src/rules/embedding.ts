/** Backward rule of embedding: gradients are added to the rows that were looked up. */
import { apply, type EmbeddingAttrs } from "@refl/tensor";
import type { RuleTable } from "../tape.ts";

export const embeddingRules: RuleTable<EmbeddingAttrs> = {
  embedding: {
    save: ({ inputs }) => [inputs[1]!],
    backward: ({ saved, shapes }, g) => [apply("embeddingBackward", [g, saved[0]!], { rows: shapes[0]![0]! }), null],
  },
  embeddingBackward: null,
};
