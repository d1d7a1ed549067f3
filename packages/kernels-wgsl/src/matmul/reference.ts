/** Float64 references of the matmul ops. */
import type { ReferenceTable } from "../testing/cases.ts";

export const matmulReference = {} satisfies ReferenceTable;
