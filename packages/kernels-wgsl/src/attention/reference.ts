/** Float64 references of the attention ops. */
import type { ReferenceTable } from "../testing/cases.ts";

export const attentionReference = {} satisfies ReferenceTable;
