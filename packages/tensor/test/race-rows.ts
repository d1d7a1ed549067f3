/** Rows beside the op tables whose only purpose is the race check: each barrier variant over a few workgroups, edges off the tile. */
import type { OpCase, OperandSpec } from "@refl/kernels-wgsl/testing";

const of = (...shape: number[]): OperandSpec => ({ shape });
const classes = (rows: number, below: number): OperandSpec => ({
  shape: [rows],
  values: { index: below },
  dtype: "i32",
});
const mean = { ignoreIndex: 1, labelSmoothing: 0.1, reduction: "mean" } as const;
const sum = { ...mean, reduction: "sum" } as const;
const none = { ...mean, reduction: "none" } as const;
const group = { groups: 2, eps: 1e-5, activation: "none" } as const;
const silu = { ...group, activation: "silu" } as const;
const one: OperandSpec = { shape: [1], values: "positive" };

/** Rows of 130 elements are read one by one, rows of 132 four at a time; both are wider than the 64 threads that share them. */
const rowWise = [130, 132].flatMap((columns): OpCase[] => [
  { op: "softmax", inputs: [of(3, columns)], attrs: { axis: 1 } },
  { op: "logSoftmax", inputs: [of(3, columns)], attrs: { axis: 1 } },
  { op: "softmaxBackward", inputs: [of(3, columns), of(3, columns)], attrs: { axis: 1 } },
  { op: "logSoftmaxBackward", inputs: [of(3, columns), of(3, columns)], attrs: { axis: 1 } },
  { op: "crossEntropy", inputs: [of(3, columns), classes(3, columns)], attrs: none },
  { op: "crossEntropyBackward", inputs: [of(), of(3, columns), classes(3, columns), of(3, 2), one], attrs: mean },
  { op: "crossEntropyBackward", inputs: [of(3), of(3, columns), classes(3, columns), of(3, 2)], attrs: none },
  { op: "layerNorm", inputs: [of(3, columns)], attrs: { eps: 1e-5 } },
  { op: "layerNorm", inputs: [of(3, columns), of(columns), of(columns)], attrs: { eps: 1e-5 } },
  { op: "layerNormBackward", inputs: [of(3, columns), of(3, columns), of(3, 2)], attrs: { parameters: false } },
  {
    op: "layerNormBackward",
    inputs: [of(3, columns), of(3, columns), of(3, 2), of(columns)],
    attrs: { parameters: false },
  },
  { op: "groupNorm", inputs: [of(1, 4, columns)], attrs: group },
  { op: "groupNorm", inputs: [of(1, 4, columns), of(4), of(4)], attrs: silu },
  {
    op: "groupNormBackward",
    inputs: [of(1, 4, columns), of(1, 4, columns), of(1, 2, 2)],
    attrs: { ...group, parameters: false },
  },
  {
    op: "groupNormBackward",
    inputs: [of(1, 4, columns), of(1, 4, columns), of(1, 2, 2), of(4), of(4)],
    attrs: { ...silu, parameters: false },
  },
]);

export const raceRows: readonly OpCase[] = [
  ...rowWise,
  { op: "crossEntropy", inputs: [of(130, 3), classes(130, 3)], attrs: mean },
  { op: "crossEntropy", inputs: [of(130, 3), classes(130, 3)], attrs: sum },
  { op: "matmul", inputs: [of(70, 20), of(20, 66)], attrs: {} },
  { op: "linear", inputs: [of(70, 20), of(66, 20), of(66)], attrs: { activation: "gelu" } },
];
