/** Test cases of the matmul ops. */
import type { OpCase } from "../testing/cases.ts";

export const matmulCases: readonly OpCase[] = [];
