/** Test cases of the attention ops. */
import type { OpCase } from "../testing/cases.ts";

export const attentionCases: readonly OpCase[] = [];
