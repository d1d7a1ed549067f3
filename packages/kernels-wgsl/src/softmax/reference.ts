/** Float64 references of the softmax ops. */
import { type NdArray, ndarray, type ReferenceTable, stridesOf } from "../testing/cases.ts";

/** Maps every row along `axis` (its values in order) to a new row. */
function alongAxis(x: NdArray, axis: number, row: (values: Float64Array) => Float64Array): NdArray {
  const out = ndarray(x.shape);
  const size = x.shape[axis] ?? 1;
  const step = stridesOf(x.shape)[axis] ?? 1;
  const values = new Float64Array(size);
  for (let start = 0; start < x.data.length; start++) {
    if (Math.floor(start / step) % size) continue;
    for (let j = 0; j < size; j++) values[j] = x.data[start + j * step]!;
    row(values).forEach((y, j) => {
      out.data[start + j * step] = y;
    });
  }
  return out;
}

/** log Σ exp without overflow. */
function logSumExp(values: Float64Array): number {
  const top = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  return top + Math.log(values.reduce((sum, x) => sum + Math.exp(x - top), 0));
}

interface CrossEntropy {
  ignoreIndex: number;
  labelSmoothing: number;
  reduction: "mean" | "sum" | "none";
}

/** Maps the rows of a gradient and a result together. */
function slope(g: NdArray, y: NdArray, axis: number, row: (g: Float64Array, y: Float64Array) => Float64Array): NdArray {
  const rows: Float64Array[] = [];
  alongAxis(g, axis, (values) => {
    rows.push(values.slice());
    return values;
  });
  let next = 0;
  return alongAxis(y, axis, (values) => row(rows[next++]!, values));
}

const sum = (values: Float64Array): number => values.reduce((a, b) => a + b, 0);

export const softmaxReference = {
  softmax: ([x], { axis }: { axis: number }) =>
    alongAxis(x!, axis, (values) => {
      const total = logSumExp(values);
      return values.map((v) => Math.exp(v - total));
    }),
  logSoftmax: ([x], { axis }: { axis: number }) =>
    alongAxis(x!, axis, (values) => {
      const total = logSumExp(values);
      return values.map((v) => v - total);
    }),
  crossEntropy: ([logits, classes], attrs: CrossEntropy) => {
    const [rows, columns] = logits!.shape as [number, number];
    const losses = new Float64Array(rows);
    let counted = 0;
    for (let i = 0; i < rows; i++) {
      const chosen = classes!.data[i]!;
      if (chosen === attrs.ignoreIndex) continue;
      counted++;
      const row = logits!.data.slice(i * columns, (i + 1) * columns);
      const total = logSumExp(row);
      const mean = sum(row) / columns;
      losses[i] = total - (1 - attrs.labelSmoothing) * row[chosen]! - attrs.labelSmoothing * mean;
    }
    if (attrs.reduction === "none") return ndarray([rows], losses);
    return ndarray([], Float64Array.of(attrs.reduction === "mean" ? sum(losses) / counted : sum(losses)));
  },
  softmaxBackward: ([g, y], { axis }: { axis: number }) =>
    slope(g!, y!, axis, (gradient, result) => {
      const total = sum(gradient.map((v, j) => v * result[j]!));
      return result.map((v, j) => v * (gradient[j]! - total));
    }),
  logSoftmaxBackward: ([g, y], { axis }: { axis: number }) =>
    slope(g!, y!, axis, (gradient, result) => {
      const total = sum(gradient);
      return result.map((v, j) => gradient[j]! - Math.exp(v) * total);
    }),
  crossEntropyBackward: ([g, logits, classes, stats, counted], attrs: CrossEntropy) => {
    const [, columns] = logits!.shape as [number, number];
    const data = logits!.data.map((x, i) => {
      const row = Math.floor(i / columns);
      const chosen = classes!.data[row]!;
      if (chosen === attrs.ignoreIndex) return 0;
      const share = Math.exp(x - stats!.data[2 * row]! - stats!.data[2 * row + 1]!);
      const wanted = (i % columns === chosen ? 1 - attrs.labelSmoothing : 0) + attrs.labelSmoothing / columns;
      return (g!.data[attrs.reduction === "none" ? row : 0]! / (counted?.data[0] ?? 1)) * (share - wanted);
    });
    return ndarray(logits!.shape, data);
  },
} satisfies ReferenceTable;
