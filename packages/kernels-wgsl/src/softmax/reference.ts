/** Float64 references of the softmax ops. */
import type { ReferenceTable } from "../testing/cases.ts";

export const softmaxReference = {} satisfies ReferenceTable;
