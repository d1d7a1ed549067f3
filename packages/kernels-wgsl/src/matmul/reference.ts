/** Float64 references of the matrix products. */
import { erf } from "../elementwise/ops.ts";
import { eachIndex, type NdArray, ndarray, type ReferenceTable } from "../testing/cases.ts";
import type { Activation } from "./index.ts";

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

const ACTIVATIONS: Record<Activation, (x: number) => number> = {
  none: (x) => x,
  relu: (x) => Math.max(x, 0),
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  silu: (x) => x * sigmoid(x),
  quickGelu: (x) => x * sigmoid(1.702 * x),
};

/** Flat position of a batch index in an operand whose batch axes broadcast. */
function batchOffset(x: NdArray, index: readonly number[]): number {
  const axes = x.shape.slice(0, -2);
  let at = 0;
  axes.forEach((size, i) => {
    at = at * size + (size === 1 ? 0 : index[i + index.length - axes.length]!);
  });
  return at;
}

export const matmulReference = {
  matmul: ([a, b]) => {
    const [m, k] = a!.shape.slice(-2) as [number, number];
    const n = b!.shape.at(-1)!;
    const rank = Math.max(a!.shape.length, b!.shape.length) - 2;
    const batch = Array.from({ length: rank }, (_, i) =>
      Math.max(...[a!, b!].map((x) => x.shape[i - rank + x.shape.length - 2] ?? 1)),
    );
    const out = ndarray([...batch, m, n]);
    eachIndex(batch, (index, flat) => {
      const ia = batchOffset(a!, index) * m * k;
      const ib = batchOffset(b!, index) * k * n;
      for (let i = 0; i < m; i++) {
        for (let j = 0; j < n; j++) {
          let sum = 0;
          for (let q = 0; q < k; q++) sum += a!.data[ia + i * k + q]! * b!.data[ib + q * n + j]!;
          out.data[(flat * m + i) * n + j] = sum;
        }
      }
    });
    return out;
  },
  linear: ([x, weight, bias], { activation }: { activation: Activation }) => {
    const [out, k] = weight!.shape as [number, number];
    const rows = x!.data.length / k;
    const result = ndarray([...x!.shape.slice(0, -1), out]);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < out; j++) {
        let sum = bias?.data[j] ?? 0;
        for (let q = 0; q < k; q++) sum += x!.data[i * k + q]! * weight!.data[j * k + q]!;
        result.data[i * out + j] = ACTIVATIONS[activation](sum);
      }
    }
    return result;
  },
} satisfies ReferenceTable;
