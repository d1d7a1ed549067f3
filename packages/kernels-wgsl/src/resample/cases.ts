/** Test cases of the resample ops: growing, shrinking, mixed and unchanged axes in every mode. */
import type { OpCase, OperandSpec } from "../testing/cases.ts";

type Pair = readonly [number, number];

const upsampled: readonly OperandSpec[] = [
  { shape: [2, 3, 4, 4] },
  { shape: [1, 2, 3, 5] },
  { shape: [1, 1, 1, 1] },
  { shape: [2, 2, 3, 4], layout: "transposed" },
  { shape: [1, 2, 3, 3], layout: "sliced" },
  { shape: [0, 3, 2, 2] },
];

const upsampleCases = upsampled.flatMap((x, i): OpCase[] => [
  { op: "upsampleNearest2x", inputs: [x], attrs: {}, ...(i === 0 ? { smoke: true } : {}) },
  {
    op: "upsampleNearest2xGrad",
    inputs: [{ ...x, shape: [x.shape[0]!, x.shape[1]!, 2 * x.shape[2]!, 2 * x.shape[3]!] }],
    attrs: {},
  },
]);

/** Sizes before and after. */
const sizes: readonly (readonly [from: Pair, to: Pair])[] = [
  [
    [5, 7],
    [11, 10],
  ],
  [
    [8, 8],
    [4, 4],
  ],
  [
    [13, 9],
    [5, 4],
  ],
  [
    [6, 9],
    [10, 3],
  ],
  [
    [4, 4],
    [4, 9],
  ],
  [
    [1, 6],
    [3, 1],
  ],
  [
    [3, 4],
    [6, 8],
  ],
];

const modes = (["bilinear", "bicubic"] as const).flatMap((mode) =>
  [false, true].map((antialias) => ({ mode, antialias })),
);

const resizeCases = sizes.flatMap(([from, to], i) =>
  modes.flatMap((mode): OpCase[] => [
    {
      op: "resize",
      inputs: [{ shape: [2, 2, ...from], layout: i === 1 ? "transposed" : i === 2 ? "sliced" : "dense" }],
      attrs: { ...mode, size: to },
      ...(i === 3 && mode.antialias ? { smoke: true } : {}),
    },
    { op: "resizeGrad", inputs: [{ shape: [2, 1, ...to] }], attrs: { ...mode, size: from } },
  ]),
);

export const resampleCases: readonly OpCase[] = [
  ...upsampleCases,
  ...resizeCases,
  { op: "resize", inputs: [{ shape: [0, 2, 4, 4] }], attrs: { mode: "bicubic", antialias: true, size: [2, 3] } },
];
