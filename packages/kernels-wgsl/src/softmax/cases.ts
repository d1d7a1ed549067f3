/** Test cases of the softmax ops. */
import type { OpCase } from "../testing/cases.ts";

export const softmaxCases: readonly OpCase[] = [];
