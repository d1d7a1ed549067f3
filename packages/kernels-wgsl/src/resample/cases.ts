/** Test cases of the resample ops. */
import type { OpCase } from "../testing/cases.ts";

export const resampleCases: readonly OpCase[] = [];
