/** Test cases of the matrix products: aligned sizes for the subgroup kernel, odd ones for the others, every transpose form and epilogue. */
import type { OpCase, OperandSpec } from "../testing/cases.ts";
import type { Activation } from "./index.ts";

const LAYOUTS = ["dense", "transposed"] as const;

const forms = (m: number, k: number, n: number): OpCase[] =>
  LAYOUTS.flatMap((a) =>
    LAYOUTS.map((b) => ({
      op: "matmul",
      inputs: [{ shape: [m, k], layout: a } as OperandSpec, { shape: [k, n], layout: b }],
      attrs: {},
    })),
  );

const ACTIVATIONS: Activation[] = ["none", "relu", "gelu", "silu", "quickGelu"];

export const matmulCases: readonly OpCase[] = [
  { op: "matmul", inputs: [{ shape: [3, 4] }, { shape: [4, 5] }], attrs: {}, smoke: true },
  ...forms(8, 12, 16),
  ...forms(5, 7, 9),
  ...forms(20, 4, 36),
  ...forms(33, 13, 35),
  { op: "matmul", inputs: [{ shape: [1, 1] }, { shape: [1, 1] }], attrs: {} },
  { op: "matmul", inputs: [{ shape: [2, 3, 4] }, { shape: [2, 4, 4] }], attrs: {}, smoke: true },
  { op: "matmul", inputs: [{ shape: [2, 1, 3, 4] }, { shape: [3, 4, 2] }], attrs: {} },
  { op: "matmul", inputs: [{ shape: [3, 4, 4] }, { shape: [4, 8] }], attrs: {} },
  {
    op: "matmul",
    inputs: [
      { shape: [2, 4, 3], layout: "transposed" },
      { shape: [2, 3, 4], layout: "sliced" },
    ],
    attrs: {},
  },
  { op: "matmul", inputs: [{ shape: [0, 3, 4] }, { shape: [0, 4, 5] }], attrs: {} },
  { op: "matmul", inputs: [{ shape: [3, 0] }, { shape: [0, 4] }], attrs: {} },
  ...ACTIVATIONS.flatMap((activation): OpCase[] => [
    {
      op: "linear",
      inputs: [{ shape: [5, 8] }, { shape: [12, 8] }, { shape: [12] }],
      attrs: { activation },
      smoke: true,
    },
    { op: "linear", inputs: [{ shape: [2, 3, 5] }, { shape: [7, 5] }], attrs: { activation } },
  ]),
  {
    op: "linear",
    inputs: [
      { shape: [2, 5], layout: "transposed" },
      { shape: [3, 5], layout: "transposed" },
      { shape: [3], layout: "sliced" },
    ],
    attrs: { activation: "none" },
  },
];
