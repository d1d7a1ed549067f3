/** The float64 references: the tape by central differences, the samples by the tape. */
import { describe, expect, it } from "vitest";
import {
  add,
  attend,
  beside,
  columns,
  constant,
  conv3x3,
  crossEntropy,
  erf,
  gelu,
  groupNorm,
  layerNorm,
  matmul,
  relu,
  silu,
  softmax,
  type Value,
} from "../src/reference/graph.ts";
import { reference, relativeError } from "../src/reference/reference.ts";
import { bytes, drawInputs, flops, inputShapes, outputShapes, sizeOf, type Work } from "../src/work.ts";

const draw = (shape: readonly number[], seed: number): Value =>
  constant(
    shape,
    Float64Array.from({ length: sizeOf(shape) }, (_, i) => Math.sin(7 * i + 3 * seed + i * i)),
  );

const GRAPHS: Record<string, { shapes: number[][]; f: (...xs: Value[]) => Value }> = {
  matmul: {
    shapes: [
      [3, 4],
      [4, 2],
    ],
    f: (a, b) => matmul(a!, b!),
  },
  "matmul of a transposed operand": {
    shapes: [
      [3, 4],
      [2, 4],
    ],
    f: (a, b) => matmul(a!, b!, true),
  },
  "a bias and ReLU": { shapes: [[3, 4], [4]], f: (x, b) => relu(add(x!, b!)) },
  SiLU: { shapes: [[5]], f: (x) => silu(x!) },
  GELU: { shapes: [[5]], f: (x) => gelu(x!) },
  softmax: { shapes: [[3, 4]], f: (x) => softmax(x!) },
  layerNorm: { shapes: [[3, 4], [4], [4]], f: (x, w, b) => layerNorm(x!, w!, b!) },
  groupNorm: { shapes: [[2, 4, 2, 3], [4], [4]], f: (x, w, b) => groupNorm(x!, w!, b!, 2) },
  conv3x3: {
    shapes: [
      [2, 2, 3, 4],
      [3, 2, 3, 3],
    ],
    f: (x, w) => conv3x3(x!, w!),
  },
  "columns side by side": { shapes: [[3, 4]], f: (x) => beside([columns(x!, 2, 2), columns(x!, 0, 1)]) },
  attention: {
    shapes: [
      [3, 2],
      [4, 2],
      [4, 2],
    ],
    f: (q, k, v) => attend(q!, k!, v!),
  },
  "cross-entropy": { shapes: [[3, 4]], f: (x) => crossEntropy(x!, [1, 3, 0]) },
};

describe("the tape's gradients are central differences", () => {
  for (const [name, { shapes, f }] of Object.entries(GRAPHS))
    it(name, () => {
      const inputs = shapes.map(draw);
      const y = f(...inputs);
      const weights = draw(y.shape, 9).data;
      y.backward(weights);
      const total = (xs: readonly Value[]): number => f(...xs).data.reduce((sum, v, i) => sum + v * weights[i]!, 0);
      inputs.forEach((input, at) => {
        input.data.forEach((value, i) => {
          const moved = (step: number): number => {
            const data = Float64Array.from(input.data);
            data[i] = value + step;
            return total(inputs.map((x, j) => constant(x.shape, j === at ? data : x.data)));
          };
          expect(input.grad[i]).toBeCloseTo((moved(1e-6) - moved(-1e-6)) / 2e-6, 6);
        });
      });
    });
});

it("erf has its published values", () => {
  expect(erf(0.5)).toBeCloseTo(0.5204998778130465, 14);
  expect(erf(2.9)).toBeCloseTo(0.9999589021219005, 13);
  expect(erf(-3.1)).toBeCloseTo(-0.9999883513426328, 14);
});

const WORKS: Work[] = [
  { op: "matmul", part: "forward", batch: 2, m: 3, k: 4, n: 5 },
  { op: "matmul", part: "backward", batch: 1, m: 3, k: 4, n: 5, transA: true },
  { op: "conv", part: "forward", n: 1, c: 2, h: 5, o: 3, k: 3, stride: 2, padding: 1 },
  { op: "conv", part: "dX", n: 1, c: 2, h: 5, o: 3, k: 3, stride: 2, padding: 1 },
  { op: "conv", part: "dW", n: 2, c: 2, h: 4, o: 3, k: 1, stride: 1, padding: 0 },
  { op: "softmax", part: "both", rows: 3, cols: 4 },
  { op: "layerNorm", part: "both", rows: 3, cols: 4 },
  { op: "groupNorm", part: "both", n: 1, c: 4, h: 3, groups: 2, silu: true },
  { op: "gelu", part: "both", size: 9 },
  { op: "attention", part: "both", heads: 2, tokens: 5, size: 3 },
  { op: "embedding", part: "both", count: 4, width: 3, ids: 6 },
  { op: "bicubic", part: "forward", n: 1, c: 2, h: 5, size: 8 },
  { op: "upsample", part: "both", n: 1, c: 2, h: 3 },
  { op: "sum", part: "forward", rows: 3, cols: 4, axis: 0 },
  { op: "mlp", part: "both", batch: 3, widths: [4, 5, 3] },
  { op: "vitBlock", part: "both", tokens: 4, width: 6, heads: 2 },
  { op: "unetBlock", part: "both", n: 2, c: 4, h: 3, groups: 2 },
  { op: "adamw", part: "forward", count: 12 },
];

it("every work's reference has a sample of each of its outputs, and its counts are positive", () => {
  for (const work of WORKS) {
    const found = reference(work, drawInputs(work));
    const shapes = outputShapes(work);
    expect(Object.keys(found).sort()).toEqual(Object.keys(shapes).sort());
    for (const [name, { index, value }] of Object.entries(found)) {
      expect(index.length).toBe(value.length);
      expect(value.every(Number.isFinite)).toBe(true);
      if (work.op !== "mlp") expect(Math.max(...index)).toBeLessThan(sizeOf(shapes[name]!));
    }
    expect(bytes(work)).toBeGreaterThan(0);
    expect(flops(work)).toBeGreaterThanOrEqual(0);
  }
});

it("samples of products and convolutions are the tape's values", () => {
  const value = (work: Work, name: string): Value => {
    const { shape, data } = drawInputs(work)[name]!;
    return constant(shape, data);
  };
  const product: Work = { op: "matmul", part: "backward", batch: 1, m: 3, k: 4, n: 5 };
  const [a, b] = [value(product, "a"), value(product, "b")];
  matmul(a, b).backward(value(product, "dy").data);
  const found = reference(product, drawInputs(product));
  expect(relativeError(a.grad, found["da"]!)).toBeLessThan(1e-12);
  expect(relativeError(b.grad, found["db"]!)).toBeLessThan(1e-12);
  const shape = { n: 2, c: 2, h: 4, o: 3, k: 3, stride: 1, padding: 1 };
  for (const part of ["forward", "dX", "dW"] as const) {
    const work: Work = { op: "conv", part, ...shape };
    const [x, w] = [value(work, "x"), value(work, "w")];
    const y = conv3x3(x, w);
    if (part !== "forward") y.backward(value(work, "dy").data);
    const [name, data] = part === "forward" ? ["y", y.data] : part === "dX" ? ["dx", x.grad] : ["dw", w.grad];
    expect(relativeError(data as Float64Array, reference(work, drawInputs(work))[name as string]!)).toBeLessThan(1e-12);
  }
});

it("a missing or infinite value is an infinite error", () => {
  const sample = { index: Int32Array.of(0, 1), value: Float64Array.of(1, 2) };
  expect(relativeError([1, 2.2], sample)).toBeCloseTo(0.1, 12);
  expect(relativeError([1], sample)).toBe(Number.POSITIVE_INFINITY);
  expect(relativeError([1, Number.NaN], sample)).toBe(Number.POSITIVE_INFINITY);
});

it("draws the same inputs each time, within bounds", () => {
  const work: Work = { op: "embedding", part: "both", count: 4, width: 3, ids: 60 };
  const [first, second] = [drawInputs(work), drawInputs(work)];
  expect(first).toEqual(second);
  expect(Object.keys(first)).toEqual(Object.keys(inputShapes(work)));
  expect([...new Set(first["ids"]!.data)].sort()).toEqual([0, 1, 2, 3]);
});
