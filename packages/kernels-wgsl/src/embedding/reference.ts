/** Float64 references of the embedding ops. */
import type { ReferenceTable } from "../testing/cases.ts";

export const embeddingReference = {} satisfies ReferenceTable;
