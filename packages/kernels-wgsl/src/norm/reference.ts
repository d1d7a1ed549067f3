/** Float64 references of the norm ops. */
import type { ReferenceTable } from "../testing/cases.ts";

export const normReference = {} satisfies ReferenceTable;
