/** Test cases of the reductions: one axis, several, all, none of size, and folds long enough for two passes. */
import type { OpCase, OperandSpec } from "../testing/cases.ts";

function rows(op: string, values: NonNullable<OperandSpec["values"]>, more: Record<string, unknown> = {}): OpCase[] {
  const row = (shape: number[], axes: number[], extra: Partial<OperandSpec> = {}, keepdim = false): OpCase => ({
    op,
    inputs: [{ shape, values, ...extra }],
    attrs: { axes, keepdim, ...more },
  });
  return [
    { ...row([3, 5], [1]), smoke: true },
    row([3, 5], [0]),
    row([2, 3, 4], [1], {}, true),
    row([2, 3, 4], [0, 2]),
    row([4, 3], [0, 1]),
    row([3, 4], [0], { layout: "transposed" }),
    row([2, 1, 5], [1, 2], { layout: "sliced" }),
    row([2, 3, 2, 3], [1, 3], {}, true),
    { ...row([3, 1500], [1], { differentiable: false }), smoke: true },
    row([70, 9, 5], [0, 2], { differentiable: false }),
  ];
}

/** A million elements and more, which kernels of their own sum: columns, rows of two lengths, all, and what must fall back. */
const much: readonly OpCase[] = (
  [
    ["sum", [1027, 1024], [0]],
    ["mean", [2, 4099, 132], [1]],
    ["sum", [1030, 1028], [1]],
    ["mean", [3, 409_600], [1]],
    ["mean", [1024, 1025], [0, 1]],
    ["sum", [1025, 1030], [0]],
  ] as const
).map(([op, shape, axes]) => ({
  op,
  inputs: [{ shape, values: "unit", differentiable: false }],
  attrs: { axes, keepdim: false },
}));

export const reduceCases: readonly OpCase[] = [
  ...rows("sum", "normal"),
  ...much,
  ...rows("mean", "normal"),
  ...rows("amax", "distinct"),
  ...rows("amin", "distinct"),
  ...rows("variance", "normal", { correction: 1 }).filter((c) => c.inputs[0]!.shape.length > 0),
  { op: "variance", inputs: [{ shape: [4, 6] }], attrs: { axes: [1], keepdim: true, correction: 0 } },
  { op: "sum", inputs: [{ shape: [3, 0] }], attrs: { axes: [1], keepdim: false } },
  { op: "sum", inputs: [{ shape: [4, 5], values: { index: 50 }, dtype: "i32" }], attrs: { axes: [0], keepdim: false } },
  { op: "sum", inputs: [{ shape: [] }], attrs: { axes: [], keepdim: false } },
  { op: "argmax", inputs: [{ shape: [4, 7], values: "distinct" }], attrs: { axis: 1, keepdim: false }, smoke: true },
  { op: "argmax", inputs: [{ shape: [3, 4, 2], values: "distinct" }], attrs: { axis: 0, keepdim: true } },
];
