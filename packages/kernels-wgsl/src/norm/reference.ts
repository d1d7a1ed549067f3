/** Float64 references of the norm ops. */
import { type NdArray, ndarray, type ReferenceTable } from "../testing/cases.ts";

interface GroupNorm {
  groups: number;
  eps: number;
  activation: "none" | "silu";
}

const mean = (values: Float64Array): number => values.reduce((a, b) => a + b, 0) / values.length;

/** Maps the normalised values of every run of `length` elements. `channel` numbers the w and b of an element. */
function normalised(
  x: NdArray,
  length: number,
  eps: number,
  channel: (at: number) => number,
  weight: NdArray | undefined,
  bias: NdArray | undefined,
): NdArray {
  const out = ndarray(x.shape);
  for (let start = 0; start < x.data.length; start += length) {
    const row = x.data.slice(start, start + length);
    const centre = mean(row);
    const scale = 1 / Math.sqrt(mean(row.map((v) => (v - centre) ** 2)) + eps);
    row.forEach((v, j) => {
      const c = channel(start + j);
      out.data[start + j] = (v - centre) * scale * (weight?.data[c] ?? 1) + (bias?.data[c] ?? 0);
    });
  }
  return out;
}

/** dx of a norm from h, the gradient by the normalised values, with given statistics. */
function inputGradient(h: Float64Array, x: NdArray, stats: NdArray, length: number): NdArray {
  const out = ndarray(x.shape);
  for (let start = 0; start < x.data.length; start += length) {
    const [centre, scale] = [stats.data[(2 * start) / length]!, stats.data[(2 * start) / length + 1]!];
    const row = h.slice(start, start + length);
    const y = x.data.slice(start, start + length).map((v) => (v - centre) * scale);
    const along = mean(row.map((v, j) => v * y[j]!));
    const even = mean(row);
    for (let j = 0; j < length; j++) out.data[start + j] = (row[j]! - even - y[j]! * along) * scale;
  }
  return out;
}

/** Elements of a group, and the channel of an element. */
function grouping(shape: readonly number[], groups: number): { length: number; channel: (at: number) => number } {
  const channels = shape[1]!;
  const spatial = shape.slice(2).reduce((a, b) => a * b, 1);
  return { length: (channels / groups) * spatial, channel: (at) => Math.floor(at / spatial) % channels };
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

export const normReference = {
  layerNorm: ([x, weight, bias], { eps }: { eps: number }) => {
    const width = x!.shape.at(-1)!;
    return normalised(x!, width, eps, (at) => at % width, weight, bias);
  },
  layerNormBackward: ([g, x, stats, weight]) => {
    const width = x!.shape.at(-1)!;
    const h = g!.data.map((v, i) => v * (weight?.data[i % width] ?? 1));
    return inputGradient(h, x!, stats!, width);
  },
  groupNorm: ([x, weight, bias], { groups, eps, activation }: GroupNorm) => {
    const { length, channel } = grouping(x!.shape, groups);
    const out = normalised(x!, length, eps, channel, weight, bias);
    return activation === "silu"
      ? ndarray(
          out.shape,
          out.data.map((z) => z * sigmoid(z)),
        )
      : out;
  },
  groupNormBackward: ([g, x, stats, weight, bias], { groups, activation }: GroupNorm) => {
    const { length, channel } = grouping(x!.shape, groups);
    const h = g!.data.map((v, i) => {
      const row = Math.floor(i / length);
      const w = weight?.data[channel(i)] ?? 1;
      if (activation === "none") return v * w;
      const z = (x!.data[i]! - stats!.data[2 * row]!) * stats!.data[2 * row + 1]! * w + (bias?.data[channel(i)] ?? 0);
      return v * w * sigmoid(z) * (1 + z * (1 - sigmoid(z)));
    });
    return inputGradient(h, x!, stats!, length);
  },
} satisfies ReferenceTable;
