/** Test cases of the elementwise ops. */
import type { OpCase } from "../testing/cases.ts";

export const elementwiseCases: readonly OpCase[] = [];
