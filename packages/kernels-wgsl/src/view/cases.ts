/** Test cases of the view ops. */
import type { OpCase } from "../testing/cases.ts";

export const viewCases: readonly OpCase[] = [];
