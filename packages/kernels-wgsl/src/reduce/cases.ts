/** Test cases of the reduce ops. */
import type { OpCase } from "../testing/cases.ts";

export const reduceCases: readonly OpCase[] = [];
