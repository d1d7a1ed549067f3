/** Test cases of the embedding ops. */
import type { OpCase } from "../testing/cases.ts";

export const embeddingCases: readonly OpCase[] = [];
