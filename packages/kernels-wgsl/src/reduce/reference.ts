/** Float64 references of the reductions. */
import { eachIndex, type NdArray, ndarray, type ReferenceTable, stridesOf } from "../testing/cases.ts";

interface Axes {
  readonly axes: readonly number[];
  readonly keepdim: boolean;
}

/** The elements that fold into each output, in order. */
function groups(x: NdArray, { axes, keepdim }: Axes): { shape: number[]; members: number[][] } {
  const kept = x.shape.map((size, i) => (axes.includes(i) ? 1 : size));
  const strides = stridesOf(kept);
  const members = Array.from({ length: kept.reduce((a, b) => a * b, 1) }, (): number[] => []);
  eachIndex(x.shape, (index, flat) => {
    members[index.reduce((sum, i, a) => sum + (axes.includes(a) ? 0 : i * strides[a]!), 0)]!.push(x.data[flat]!);
  });
  return { shape: keepdim ? kept : x.shape.filter((_, i) => !axes.includes(i)), members };
}

function fold(x: NdArray, attrs: Axes, f: (values: readonly number[]) => number): NdArray {
  const { shape, members } = groups(x, attrs);
  return ndarray(shape, Float64Array.from(members, f));
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

export const reduceReference = {
  sum: ([x], attrs: Axes) => fold(x!, attrs, sum),
  mean: ([x], attrs: Axes) => fold(x!, attrs, (v) => sum(v) / v.length),
  amax: ([x], attrs: Axes) => fold(x!, attrs, (v) => Math.max(...v)),
  amin: ([x], attrs: Axes) => fold(x!, attrs, (v) => Math.min(...v)),
  variance: ([x], attrs: Axes & { correction: number }) =>
    fold(x!, attrs, (v) => {
      const mean = sum(v) / v.length;
      return sum(v.map((e) => (e - mean) ** 2)) / (v.length - attrs.correction);
    }),
  argmax: ([x], { axis, keepdim }: { axis: number; keepdim: boolean }) =>
    fold(x!, { axes: [axis], keepdim }, (v) => v.indexOf(Math.max(...v))),
} satisfies ReferenceTable;
