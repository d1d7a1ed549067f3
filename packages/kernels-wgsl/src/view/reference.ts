/** Float64 references of the view ops. */
import type { ReferenceTable } from "../testing/cases.ts";

export const viewReference = {} satisfies ReferenceTable;
