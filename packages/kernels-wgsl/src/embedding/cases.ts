/** Test cases of the embedding ops. */
import type { OpCase, OperandSpec } from "../testing/cases.ts";

const ids = (shape: readonly number[], below: number, rest: Partial<OperandSpec> = {}): OperandSpec => ({
  shape,
  values: { index: below },
  dtype: "i32",
  ...rest,
});

export const embeddingCases: readonly OpCase[] = [
  { op: "embedding", inputs: [{ shape: [7, 8] }, ids([5], 7)], attrs: {}, smoke: true },
  { op: "embedding", inputs: [{ shape: [7, 5] }, ids([2, 6], 7)], attrs: {} },
  { op: "embedding", inputs: [{ shape: [3, 4] }, ids([40], 3)], attrs: {} },
  { op: "embedding", inputs: [{ shape: [200, 4] }, ids([9], 200)], attrs: {} },
  { op: "embedding", inputs: [{ shape: [1, 3] }, ids([4], 1)], attrs: {} },
  { op: "embedding", inputs: [{ shape: [4, 1] }, ids([2, 1, 3], 4)], attrs: {} },
  { op: "embedding", inputs: [{ shape: [6, 4] }, ids([], 6)], attrs: {} },
  { op: "embedding", inputs: [{ shape: [6, 4] }, ids([0], 6)], attrs: {} },
  {
    op: "embedding",
    inputs: [{ shape: [6, 4], layout: "transposed" }, ids([5, 3], 6, { layout: "transposed" })],
    attrs: {},
  },
  { op: "embedding", inputs: [{ shape: [6, 8], layout: "sliced" }, ids([5], 6, { layout: "sliced" })], attrs: {} },
  { op: "embedding", inputs: [{ shape: [6, 8] }, ids([70], 6, { dtype: "u32" })], attrs: {} },
  { op: "embeddingBackward", inputs: [{ shape: [9, 4] }, ids([9], 5)], attrs: { rows: 6 }, smoke: true },
  {
    op: "embeddingBackward",
    inputs: [{ shape: [2, 35, 3], layout: "transposed" }, ids([2, 35], 4)],
    attrs: { rows: 4 },
  },
  { op: "embedding", inputs: [{ shape: [3, 2] }, ids([4], 6)], attrs: {} },
  {
    op: "embedding",
    inputs: [{ shape: [300, 256], differentiable: false }, ids([2, 516], 310)],
    attrs: {},
  },
  {
    op: "embeddingBackward",
    inputs: [{ shape: [2, 516, 256], differentiable: false }, ids([2, 516], 310)],
    attrs: { rows: 300 },
  },
  {
    op: "embeddingBackward",
    inputs: [{ shape: [1031, 144], differentiable: false }, ids([1031], 5)],
    attrs: { rows: 1000 },
  },
  { op: "embeddingBackward", inputs: [{ shape: [2, 5, 3] }, ids([2, 5], 8)], attrs: { rows: 7 } },
  { op: "embeddingBackward", inputs: [{ shape: [0, 3] }, ids([0], 2)], attrs: { rows: 2 } },
];
