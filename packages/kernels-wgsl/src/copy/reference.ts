/** Float64 references of the copy ops. */
import type { ReferenceTable } from "../testing/cases.ts";

export const copyReference = {} satisfies ReferenceTable;
