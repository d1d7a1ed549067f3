/** Test cases of the copy ops. */
import type { OpCase } from "../testing/cases.ts";

export const copyCases: readonly OpCase[] = [
  { op: "cast", inputs: [{ shape: [3, 5] }], attrs: { dtype: "f32" }, smoke: true },
  { op: "cast", inputs: [{ shape: [9] }], attrs: { dtype: "i32" } },
  { op: "cast", inputs: [{ shape: [3, 4], values: "bool" }], attrs: { dtype: "bool" } },
  {
    op: "cast",
    inputs: [{ shape: [6], values: { index: 7 }, dtype: "i32", layout: "sliced" }],
    attrs: { dtype: "f32" },
  },
  { op: "cat", inputs: [{ shape: [2, 3] }, { shape: [2, 1] }, { shape: [2, 2] }], attrs: { axis: 1 }, smoke: true },
  {
    op: "cat",
    inputs: [
      { shape: [1, 3, 2], layout: "transposed" },
      { shape: [2, 3, 2], layout: "sliced" },
    ],
    attrs: { axis: 0 },
  },
  { op: "cat", inputs: [{ shape: [2, 0] }, { shape: [2, 3] }], attrs: { axis: 1 } },
  {
    op: "place",
    inputs: [{ shape: [2, 3] }],
    attrs: { shape: [4, 5], starts: [1, 2], steps: [1, 1], value: 0.5 },
    smoke: true,
  },
  {
    op: "place",
    inputs: [{ shape: [2, 2], layout: "transposed" }],
    attrs: { shape: [5, 4], starts: [1, 0], steps: [3, 2], value: 0 },
  },
];
