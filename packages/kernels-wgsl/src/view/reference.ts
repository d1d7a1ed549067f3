/** Float64 references of the view ops. */
import { eachIndex, type NdArray, ndarray, type ReferenceTable, stridesOf } from "../testing/cases.ts";

/** Gathers `shape` elements, each at the flat position that `position` gives. */
function gather(x: NdArray, shape: readonly number[], position: (index: readonly number[]) => number): NdArray {
  const out = ndarray(shape);
  eachIndex(shape, (index, flat) => {
    out.data[flat] = x.data[position(index)]!;
  });
  return out;
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, v, i) => sum + v * b[i]!, 0);

export const viewReference = {
  reshape: ([x], { shape }: { shape: readonly number[] }) => ({ shape, data: x!.data }),
  permute: ([x], { axes }: { axes: readonly number[] }) => {
    const strides = stridesOf(x!.shape);
    return gather(
      x!,
      axes.map((a) => x!.shape[a]!),
      (index) =>
        dot(
          index,
          axes.map((a) => strides[a]!),
        ),
    );
  },
  expand: ([x], { shape }: { shape: readonly number[] }) => {
    const own = stridesOf(x!.shape);
    const lead = shape.length - x!.shape.length;
    const strides = shape.map((_, i) => (i < lead || x!.shape[i - lead] === 1 ? 0 : own[i - lead]!));
    return gather(x!, shape, (index) => dot(index, strides));
  },
  slice: (
    [x],
    { starts, steps, shape }: { starts: readonly number[]; steps: readonly number[]; shape: readonly number[] },
  ) => {
    const strides = stridesOf(x!.shape);
    return gather(x!, shape, (index) =>
      dot(
        index.map((i, axis) => starts[axis]! + i * steps[axis]!),
        strides,
      ),
    );
  },
} satisfies ReferenceTable;
