/** Test cases of the norm ops. */
import type { OpCase } from "../testing/cases.ts";

export const normCases: readonly OpCase[] = [];
