/** Test cases of the copy ops. */
import type { OpCase } from "../testing/cases.ts";

export const copyCases: readonly OpCase[] = [];
