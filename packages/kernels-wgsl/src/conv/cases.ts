/** Test cases of the conv ops. */
import type { OpCase } from "../testing/cases.ts";

export const convCases: readonly OpCase[] = [];
