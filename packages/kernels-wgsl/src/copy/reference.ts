/** Float64 references of the copy ops. */
import { eachIndex, ndarray, type ReferenceTable, stridesOf } from "../testing/cases.ts";

const convert: Record<string, (x: number) => number> = {
  f32: (x) => x,
  f16: (x) => x,
  i32: Math.trunc,
  u32: (x) => Math.max(0, Math.trunc(x)),
  bool: (x) => Number(x !== 0),
};

export const copyReference = {
  cast: ([x], { dtype }: { dtype: string }) => ({ shape: x!.shape, data: x!.data.map(convert[dtype]!) }),
  cat: (inputs, { axis }: { axis: number }) => {
    const shape = [...inputs[0]!.shape];
    shape[axis] = inputs.reduce((sum, x) => sum + x.shape[axis]!, 0);
    const out = ndarray(shape);
    const strides = stridesOf(shape);
    let start = 0;
    for (const x of inputs) {
      eachIndex(x.shape, (index, flat) => {
        out.data[index.reduce((sum, i, a) => sum + (i + (a === axis ? start : 0)) * strides[a]!, 0)] = x.data[flat]!;
      });
      start += x.shape[axis]!;
    }
    return out;
  },
  place: (
    [x],
    {
      shape,
      starts,
      steps,
      value,
    }: { shape: readonly number[]; starts: readonly number[]; steps: readonly number[]; value: number },
  ) => {
    const out = ndarray(shape);
    out.data.fill(value);
    const strides = stridesOf(shape);
    eachIndex(x!.shape, (index, flat) => {
      out.data[index.reduce((sum, i, a) => sum + (starts[a]! + i * steps[a]!) * strides[a]!, 0)] = x!.data[flat]!;
    });
    return out;
  },
} satisfies ReferenceTable;
