/** Float64 references of the conv ops. */
import type { ReferenceTable } from "../testing/cases.ts";

export const convReference = {} satisfies ReferenceTable;
