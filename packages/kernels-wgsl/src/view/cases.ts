/** Test cases of the view ops. */
import type { OpCase } from "../testing/cases.ts";

export const viewCases: readonly OpCase[] = [
  { op: "reshape", inputs: [{ shape: [2, 6] }], attrs: { shape: [3, 4] }, smoke: true },
  { op: "reshape", inputs: [{ shape: [2, 3, 4], layout: "transposed" }], attrs: { shape: [6, 4] } },
  { op: "reshape", inputs: [{ shape: [2, 3, 4], layout: "transposed" }], attrs: { shape: [2, 12] } },
  { op: "reshape", inputs: [{ shape: [1, 4, 1], layout: "sliced" }], attrs: { shape: [2, 1, 2] } },
  { op: "reshape", inputs: [{ shape: [0, 4] }], attrs: { shape: [2, 0] } },
  { op: "permute", inputs: [{ shape: [2, 3, 4] }], attrs: { axes: [2, 0, 1] }, smoke: true },
  { op: "permute", inputs: [{ shape: [2, 3], layout: "sliced" }], attrs: { axes: [1, 0] } },
  { op: "permute", inputs: [{ shape: [2, 1, 3, 2] }], attrs: { axes: [3, 1, 0, 2] } },
  { op: "expand", inputs: [{ shape: [3, 1] }], attrs: { shape: [2, 3, 4] }, smoke: true },
  { op: "expand", inputs: [{ shape: [] }], attrs: { shape: [2, 2] } },
  { op: "slice", inputs: [{ shape: [5, 4] }], attrs: { starts: [1, 0], steps: [2, 1], shape: [2, 4] }, smoke: true },
  {
    op: "slice",
    inputs: [{ shape: [3, 7], layout: "transposed" }],
    attrs: { starts: [0, 1], steps: [1, 3], shape: [3, 2] },
  },
];
