/** Float64 references of the reduce ops. */
import type { ReferenceTable } from "../testing/cases.ts";

export const reduceReference = {} satisfies ReferenceTable;
