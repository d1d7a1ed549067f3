/** Test cases of the norm ops. */
import type { OpCase } from "../testing/cases.ts";

const eps = 1e-5;
const far = { mean: 500, deviation: 3 } as const;
const group = (groups: number, activation: "none" | "silu" = "none") => ({ groups, eps, activation });

export const normCases: readonly OpCase[] = [
  { op: "layerNorm", inputs: [{ shape: [5, 7] }, { shape: [7] }, { shape: [7] }], attrs: { eps }, smoke: true },
  { op: "layerNorm", inputs: [{ shape: [2, 3, 64] }, { shape: [64] }, { shape: [64] }], attrs: { eps } },
  { op: "layerNorm", inputs: [{ shape: [3, 36] }, { shape: [36] }], attrs: { eps: 1e-12 } },
  { op: "layerNorm", inputs: [{ shape: [3, 10] }], attrs: { eps } },
  { op: "layerNorm", inputs: [{ shape: [1, 1028] }, { shape: [1028] }, { shape: [1028] }], attrs: { eps } },
  { op: "layerNorm", inputs: [{ shape: [40, 8] }, { shape: [8] }, { shape: [8] }], attrs: { eps } },
  {
    op: "layerNorm",
    inputs: [{ shape: [6, 8], layout: "transposed" }, { shape: [8] }, { shape: [8], layout: "sliced" }],
    attrs: { eps },
  },
  { op: "layerNorm", inputs: [{ shape: [4, 9], layout: "sliced" }, { shape: [9] }, { shape: [9] }], attrs: { eps } },
  {
    op: "layerNorm",
    inputs: [{ shape: [4, 32], values: far, differentiable: false }, { shape: [32] }, { shape: [32] }],
    attrs: { eps },
  },
  { op: "layerNorm", inputs: [{ shape: [0, 8] }, { shape: [8] }, { shape: [8] }], attrs: { eps } },
  { op: "layerNorm", inputs: [{ shape: [3, 1] }, { shape: [1] }, { shape: [1] }], attrs: { eps: 0.1 } },
  {
    op: "layerNormBackward",
    inputs: [{ shape: [4, 12] }, { shape: [4, 12] }, { shape: [4, 2] }, { shape: [12] }],
    attrs: { parameters: false },
  },
  {
    op: "layerNormBackward",
    inputs: [{ shape: [4, 5] }, { shape: [4, 5], layout: "transposed" }, { shape: [4, 2] }],
    attrs: { parameters: false },
  },
  { op: "groupNorm", inputs: [{ shape: [2, 6, 3, 3] }, { shape: [6] }, { shape: [6] }], attrs: group(3), smoke: true },
  { op: "groupNorm", inputs: [{ shape: [2, 8, 4, 4] }, { shape: [8] }, { shape: [8] }], attrs: group(4, "silu") },
  { op: "groupNorm", inputs: [{ shape: [2, 4, 5] }, { shape: [4] }, { shape: [4] }], attrs: group(1) },
  { op: "groupNorm", inputs: [{ shape: [2, 4, 2, 3] }, { shape: [4] }, { shape: [4] }], attrs: group(4, "silu") },
  { op: "groupNorm", inputs: [{ shape: [3, 6] }, { shape: [6] }, { shape: [6] }], attrs: group(2) },
  { op: "groupNorm", inputs: [{ shape: [1, 4, 18, 16] }, { shape: [4] }, { shape: [4] }], attrs: group(1, "silu") },
  { op: "groupNorm", inputs: [{ shape: [2, 4, 3, 4] }], attrs: group(2, "silu") },
  { op: "groupNorm", inputs: [{ shape: [2, 4, 3, 4] }, { shape: [4] }], attrs: group(2) },
  {
    op: "groupNorm",
    inputs: [{ shape: [2, 4, 2, 4], layout: "transposed" }, { shape: [4] }, { shape: [4] }],
    attrs: group(2, "silu"),
  },
  {
    op: "groupNorm",
    inputs: [{ shape: [2, 4, 7], layout: "sliced" }, { shape: [4], layout: "sliced" }, { shape: [4] }],
    attrs: group(2),
  },
  {
    op: "groupNorm",
    inputs: [{ shape: [2, 4, 4, 4], values: far, differentiable: false }, { shape: [4] }, { shape: [4] }],
    attrs: group(2),
  },
  { op: "groupNorm", inputs: [{ shape: [0, 4, 2, 2] }, { shape: [4] }, { shape: [4] }], attrs: group(2) },
  {
    op: "groupNormBackward",
    inputs: [{ shape: [2, 4, 6] }, { shape: [2, 4, 6] }, { shape: [2, 2, 2] }, { shape: [4] }, { shape: [4] }],
    attrs: { ...group(2, "silu"), parameters: false },
  },
  {
    op: "groupNormBackward",
    inputs: [{ shape: [2, 4, 8] }, { shape: [2, 4, 8] }, { shape: [2, 2, 2] }],
    attrs: { ...group(2), parameters: false },
  },
];
