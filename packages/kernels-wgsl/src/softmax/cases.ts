/** Test cases of the softmax ops. */
import type { OpCase } from "../testing/cases.ts";

const plain = { ignoreIndex: -100, labelSmoothing: 0, reduction: "mean" } as const;
const large = { mean: 3000, deviation: 40 } as const;
const classes = (rows: number, below: number) => ({ shape: [rows], values: { index: below }, dtype: "i32" }) as const;

export const softmaxCases: readonly OpCase[] = [
  { op: "softmax", inputs: [{ shape: [5, 7] }], attrs: { axis: 1 }, smoke: true },
  { op: "softmax", inputs: [{ shape: [3, 64] }], attrs: { axis: 1 } },
  { op: "softmax", inputs: [{ shape: [2, 36] }], attrs: { axis: 1 } },
  { op: "softmax", inputs: [{ shape: [2, 1030] }], attrs: { axis: 1 } },
  { op: "softmax", inputs: [{ shape: [2, 5, 3] }], attrs: { axis: 1 } },
  { op: "softmax", inputs: [{ shape: [4, 2, 3] }], attrs: { axis: 0 } },
  { op: "softmax", inputs: [{ shape: [6, 8], layout: "transposed" }], attrs: { axis: 1 } },
  { op: "softmax", inputs: [{ shape: [6, 9], layout: "sliced" }], attrs: { axis: 1 } },
  { op: "softmax", inputs: [{ shape: [4, 1] }], attrs: { axis: 1 } },
  { op: "softmax", inputs: [{ shape: [0, 4] }], attrs: { axis: 1 } },
  { op: "softmax", inputs: [{ shape: [] }], attrs: { axis: 0 } },
  { op: "softmax", inputs: [{ shape: [3, 20], values: large, differentiable: false }], attrs: { axis: 1 } },
  { op: "softmaxBackward", inputs: [{ shape: [3, 5] }, { shape: [3, 5] }], attrs: { axis: 1 } },
  { op: "softmaxBackward", inputs: [{ shape: [2, 32], layout: "transposed" }, { shape: [2, 32] }], attrs: { axis: 0 } },
  { op: "logSoftmax", inputs: [{ shape: [5, 7] }], attrs: { axis: 1 }, smoke: true },
  { op: "logSoftmax", inputs: [{ shape: [3, 64] }], attrs: { axis: 1 } },
  { op: "logSoftmax", inputs: [{ shape: [2, 5, 3] }], attrs: { axis: 1 } },
  { op: "logSoftmax", inputs: [{ shape: [6, 8], layout: "transposed" }], attrs: { axis: 0 } },
  { op: "logSoftmax", inputs: [{ shape: [3, 1] }], attrs: { axis: 1 } },
  { op: "logSoftmax", inputs: [{ shape: [3, 20], values: large, differentiable: false }], attrs: { axis: 1 } },
  { op: "logSoftmaxBackward", inputs: [{ shape: [3, 36] }, { shape: [3, 36] }], attrs: { axis: 1 } },
  { op: "crossEntropy", inputs: [{ shape: [6, 5] }, classes(6, 5)], attrs: plain, smoke: true },
  { op: "crossEntropy", inputs: [{ shape: [5, 40] }, classes(5, 40)], attrs: plain },
  { op: "crossEntropy", inputs: [{ shape: [7, 4] }, classes(7, 4)], attrs: { ...plain, ignoreIndex: 2 } },
  {
    op: "crossEntropy",
    inputs: [{ shape: [7, 4] }, classes(7, 4)],
    attrs: { ignoreIndex: 1, labelSmoothing: 0.2, reduction: "sum" },
  },
  {
    op: "crossEntropy",
    inputs: [{ shape: [7, 5] }, classes(7, 5)],
    attrs: { ignoreIndex: 1, labelSmoothing: 0.1, reduction: "none" },
  },
  {
    op: "crossEntropy",
    inputs: [{ shape: [7, 6], layout: "transposed" }, classes(7, 6)],
    attrs: { ...plain, labelSmoothing: 0.1 },
  },
  { op: "crossEntropy", inputs: [{ shape: [3, 1] }, classes(3, 1)], attrs: plain },
  { op: "crossEntropy", inputs: [{ shape: [0, 4] }, classes(0, 4)], attrs: { ...plain, reduction: "sum" } },
  { op: "crossEntropy", inputs: [{ shape: [130, 3] }, classes(130, 3)], attrs: plain },
  {
    op: "crossEntropy",
    inputs: [{ shape: [4, 12], values: large, differentiable: false }, classes(4, 12)],
    attrs: plain,
  },
  {
    op: "crossEntropyBackward",
    inputs: [{ shape: [] }, { shape: [5, 8] }, classes(5, 8), { shape: [5, 2] }, { shape: [1], values: "positive" }],
    attrs: { ...plain, labelSmoothing: 0.1 },
  },
  {
    op: "crossEntropyBackward",
    inputs: [{ shape: [5] }, { shape: [5, 3] }, classes(5, 3), { shape: [5, 2] }],
    attrs: { ...plain, reduction: "none" },
  },
];
