/** Test cases of the conv ops: every window form at sizes that no tile divides, and sizes that the aligned kernels take. */
import type { OpCase, OperandSpec } from "../testing/cases.ts";

type Pair = readonly [number, number];

interface Geometry {
  readonly batch: number;
  readonly cin: number;
  readonly cout: number;
  readonly size: Pair;
  readonly kernel: Pair;
  readonly stride?: Pair;
  readonly padding?: Pair;
  readonly bias?: false;
  readonly layout?: OperandSpec["layout"];
  readonly smoke?: true;
}

const geometries: readonly Geometry[] = [
  { batch: 2, cin: 4, cout: 8, size: [4, 4], kernel: [3, 3], padding: [1, 1], smoke: true },
  { batch: 2, cin: 3, cout: 5, size: [5, 7], kernel: [3, 3], padding: [1, 1] },
  { batch: 1, cin: 1, cout: 1, size: [6, 5], kernel: [3, 3], bias: false },
  { batch: 2, cin: 5, cout: 20, size: [3, 3], kernel: [1, 1] },
  // A map of 32 pixels: large enough for the 1x1 convolution to be one product per image.
  { batch: 2, cin: 4, cout: 4, size: [4, 8], kernel: [1, 1] },
  { batch: 2, cin: 4, cout: 3, size: [5, 5], kernel: [1, 1], stride: [2, 2] },
  { batch: 1, cin: 2, cout: 3, size: [7, 6], kernel: [5, 5], padding: [2, 2] },
  { batch: 2, cin: 4, cout: 4, size: [8, 8], kernel: [3, 3], stride: [2, 2], padding: [1, 1] },
  { batch: 1, cin: 3, cout: 2, size: [9, 8], kernel: [3, 3], stride: [2, 2], padding: [1, 1] },
  { batch: 1, cin: 2, cout: 4, size: [8, 11], kernel: [3, 5], stride: [2, 1], padding: [1, 2] },
  { batch: 1, cin: 2, cout: 3, size: [10, 7], kernel: [2, 3], stride: [3, 3], padding: [0, 1] },
  { batch: 2, cin: 3, cout: 8, size: [8, 8], kernel: [4, 4], stride: [4, 4] },
  { batch: 2, cin: 3, cout: 2, size: [9, 10], kernel: [4, 4], stride: [4, 4], bias: false },
  { batch: 1, cin: 2, cout: 2, size: [2, 3], kernel: [5, 5], padding: [2, 1] },
  { batch: 2, cin: 4, cout: 8, size: [4, 6], kernel: [3, 3], padding: [1, 1], layout: "transposed", bias: false },
  { batch: 1, cin: 3, cout: 4, size: [4, 4], kernel: [3, 3], padding: [1, 1], layout: "sliced" },
  // More padding than the window reaches: the input gradient crops.
  { batch: 1, cin: 2, cout: 4, size: [4, 4], kernel: [2, 2], padding: [3, 2] },
  { batch: 0, cin: 3, cout: 4, size: [4, 4], kernel: [3, 3], padding: [1, 1] },
];

function outSize({ size, kernel, stride = [1, 1], padding = [0, 0] }: Geometry, axis: 0 | 1): number {
  return Math.floor((size[axis] + 2 * padding[axis] - kernel[axis]) / stride[axis]) + 1;
}

function forwardCase(g: Geometry): OpCase {
  const layout = g.layout ?? "dense";
  const inputs: OperandSpec[] = [
    { shape: [g.batch, g.cin, ...g.size], layout },
    { shape: [g.cout, g.cin, ...g.kernel], layout },
  ];
  if (g.bias !== false) inputs.push({ shape: [g.cout], ...(layout === "sliced" ? { layout } : {}) });
  return {
    op: "conv2d",
    inputs,
    attrs: { stride: g.stride ?? [1, 1], padding: g.padding ?? [0, 0] },
    ...(g.smoke ? { smoke: true } : {}),
  };
}

/** The two gradients as ops of their own: their rules give second derivatives. */
function gradientCases(g: Geometry): OpCase[] {
  const window = { stride: g.stride ?? [1, 1], padding: g.padding ?? [0, 0] };
  const gradient: OperandSpec = { shape: [g.batch, g.cout, outSize(g, 0), outSize(g, 1)], layout: g.layout ?? "dense" };
  return [
    {
      op: "conv2dInputGrad",
      inputs: [gradient, { shape: [g.cout, g.cin, ...g.kernel] }],
      attrs: { ...window, size: g.size },
    },
    {
      op: "conv2dWeightGrad",
      inputs: [gradient, { shape: [g.batch, g.cin, ...g.size] }],
      attrs: { ...window, kernel: g.kernel },
    },
  ];
}

export const convCases: readonly OpCase[] = [...geometries.map(forwardCase), ...geometries.flatMap(gradientCases)];
