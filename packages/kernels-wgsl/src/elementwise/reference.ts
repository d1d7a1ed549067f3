/** Float64 references of the elementwise ops. */
import type { ReferenceTable } from "../testing/cases.ts";

export const elementwiseReference = {} satisfies ReferenceTable;
