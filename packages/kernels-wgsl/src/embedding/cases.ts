/** Test cases of the embedding ops: repeated ids, ids of several axes, strided tables, none at all. */
import type { OpCase, OperandSpec } from "../testing/cases.ts";

const ids = (
  shape: readonly number[],
  below: number,
  layout: NonNullable<OperandSpec["layout"]> = "dense",
): OperandSpec => ({ shape, values: { index: below }, dtype: "i32", layout });

export const embeddingCases: readonly OpCase[] = [
  { op: "embedding", inputs: [{ shape: [7, 4] }, ids([5], 7)], attrs: {}, smoke: true },
  { op: "embedding", inputs: [{ shape: [3, 5] }, ids([2, 6], 3)], attrs: {} },
  { op: "embedding", inputs: [{ shape: [6, 3], layout: "transposed" }, ids([4], 6)], attrs: {} },
  { op: "embedding", inputs: [{ shape: [4, 8], layout: "sliced" }, ids([3, 2], 4, "transposed")], attrs: {} },
  { op: "embedding", inputs: [{ shape: [1, 1] }, ids([9], 1)], attrs: {} },
  { op: "embedding", inputs: [{ shape: [3, 2] }, ids([4], 6)], attrs: {} },
  { op: "embedding", inputs: [{ shape: [5, 4] }, ids([0], 5)], attrs: {} },
  { op: "embedding", inputs: [{ shape: [60, 16] }, ids([8, 10], 60)], attrs: {} },
  { op: "embeddingBackward", inputs: [{ shape: [6, 4] }, ids([6], 3)], attrs: { rows: 3 }, smoke: true },
  { op: "embeddingBackward", inputs: [{ shape: [2, 5, 3], layout: "transposed" }, ids([2, 5], 8)], attrs: { rows: 7 } },
  { op: "embeddingBackward", inputs: [{ shape: [0, 3] }, ids([0], 2)], attrs: { rows: 2 } },
];
