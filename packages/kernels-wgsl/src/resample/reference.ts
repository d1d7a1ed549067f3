/** Float64 references of the resample ops, written from PyTorch's definitions without the tables that the kernels use. */
import { type NdArray, ndarray, type ReferenceTable } from "../testing/cases.ts";

type Pair = readonly [number, number];

interface Resize {
  readonly mode: "bilinear" | "bicubic";
  readonly antialias: boolean;
}

/** Keys' cubic, by its two branches as printed in the paper. */
function keys(x: number, a: number): number {
  const d = Math.abs(x);
  if (d < 1) return (a + 2) * d ** 3 - (a + 3) * d ** 2 + 1;
  if (d < 2) return a * d ** 3 - 5 * a * d ** 2 + 8 * a * d - 4 * a;
  return 0;
}

/** The dense matrix [to, from] that resamples one axis. */
function matrix(from: number, to: number, { mode, antialias }: Resize): number[][] {
  const ratio = from / to;
  return Array.from({ length: to }, (_, r) => {
    const row = new Array<number>(from).fill(0);
    if (!antialias) {
      const centre = ratio * (r + 0.5) - 0.5;
      const at = mode === "bilinear" && centre < 0 ? 0 : centre;
      for (let i = Math.floor(at) - 1; i <= Math.floor(at) + 2; i++) {
        const weight = mode === "bilinear" ? Math.max(0, 1 - Math.abs(at - i)) : keys(at - i, -0.75);
        row[Math.min(Math.max(i, 0), from - 1)]! += weight;
      }
      return row;
    }
    const stretch = Math.max(ratio, 1);
    const centre = ratio * (r + 0.5);
    for (let i = 0; i < from; i++) {
      const x = (i + 0.5 - centre) / stretch;
      row[i] = mode === "bilinear" ? Math.max(0, 1 - Math.abs(x)) : keys(x, -0.5);
    }
    const total = row.reduce((sum, w) => sum + w, 0);
    return row.map((w) => w / total);
  });
}

/** y[.., i, j] = Σ rows[i][k] · columns[j][l] · x[.., k, l]. */
function separable(x: NdArray, rows: readonly (readonly number[])[], columns: readonly (readonly number[])[]): NdArray {
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  const out = ndarray([batch, channels, rows.length, columns.length]);
  let at = 0;
  for (let plane = 0; plane < batch * channels; plane++)
    for (const row of rows)
      for (const column of columns) {
        let sum = 0;
        for (let k = 0; k < height; k++)
          for (let l = 0; l < width; l++) sum += row[k]! * column[l]! * x.data[(plane * height + k) * width + l]!;
        out.data[at++] = sum;
      }
  return out;
}

const transposed = (m: readonly (readonly number[])[]): number[][] => m[0]!.map((_, i) => m.map((row) => row[i]!));

const lastTwo = (x: NdArray): Pair => x.shape.slice(2) as unknown as Pair;

/** Each of n elements twice. */
const twice = (n: number): number[][] =>
  Array.from({ length: 2 * n }, (_, r) => Array.from({ length: n }, (_, i) => Number(i === Math.floor(r / 2))));

export const resampleReference = {
  upsampleNearest2x: ([x]) => {
    const [height, width] = lastTwo(x!);
    return separable(x!, twice(height), twice(width));
  },
  upsampleNearest2xGrad: ([gradient]) => {
    const [height, width] = lastTwo(gradient!);
    return separable(gradient!, transposed(twice(height / 2)), transposed(twice(width / 2)));
  },
  resize: ([x], attrs: Resize & { size: Pair }) => {
    const [height, width] = lastTwo(x!);
    return separable(x!, matrix(height, attrs.size[0], attrs), matrix(width, attrs.size[1], attrs));
  },
  resizeGrad: ([gradient], attrs: Resize & { size: Pair }) => {
    const [height, width] = lastTwo(gradient!);
    return separable(
      gradient!,
      transposed(matrix(attrs.size[0], height, attrs)),
      transposed(matrix(attrs.size[1], width, attrs)),
    );
  },
} satisfies ReferenceTable;
