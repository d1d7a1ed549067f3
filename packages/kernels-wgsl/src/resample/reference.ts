/** Float64 references of the resample ops. */
import type { ReferenceTable } from "../testing/cases.ts";

export const resampleReference = {} satisfies ReferenceTable;
