/** Runs: the cut of a strided index space into pieces of four along the last axis, which strided kernels walk without decomposing again. */
import type { Defines } from "./kernel.ts";

/** Elements of a run: four where the last axis divides into fours, else one. */
export const runLength = (shape: readonly number[]): 1 | 4 => (shape.length && shape.at(-1)! % 4 === 0 ? 4 : 1);

/** Defines of a strided kernel for merged axes `shape`. With more than four axes the length of a run is a parameter: such copies are few. */
export const runDefines = (shape: readonly number[]): Defines =>
  shape.length > 4 ? { PER: "p.per", HIGH: true } : { PER: `${runLength(shape)}u`, HIGH: false };

/** Axes and strides counted in runs, in the two halves that parameters have, and the steps within a run. */
export function cutIntoRuns(shape: readonly number[], strides: readonly (readonly number[])[]) {
  const per = runLength(shape);
  const last = shape.length - 1;
  const sizes = shape.map((size, i) => (i === last ? size / per : size));
  const steps = strides.map((list) => list.map((step, i) => (i === last ? step * per : step)));
  const halves = (list: readonly number[]): [number[], number[]] => [list.slice(0, 4), list.slice(4, 8)];
  return {
    shape: halves(sizes),
    strides: steps.map(halves),
    inner: strides.map((list) => (per === 1 ? 0 : list[last]!)),
    per,
    runs: sizes.reduce((a, b) => a * b, 1),
    rank: shape.length,
  };
}
