/** Test helpers: values of tensors that are computed, read and disposed of in one go. */
import { scope, type Tensor } from "@refl/tensor";

/** Runs `fn` in a scope and reads the tensors it returns; they are disposed of afterwards. */
export async function readAll(fn: () => readonly Tensor[]): Promise<number[][]> {
  const tensors = scope(fn);
  const values: number[][] = [];
  for (const t of tensors) values.push(Array.from(await t.data()));
  for (const t of tensors) t.dispose();
  return values;
}

/** As {@link readAll} for one tensor. */
export async function read(fn: () => Tensor): Promise<number[]> {
  return (await readAll(() => [fn()]))[0]!;
}

/** n values from −1.2 on that look random and are the same everywhere. */
export function wave(n: number, phase = 0): Float32Array {
  return Float32Array.from({ length: n }, (_, i) => 1.2 * Math.sin(1.7 * i + phase) + 0.3 * Math.cos(0.9 * i * i));
}

/** max |a − b|; NaN where any difference is. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Math.max(0, ...Array.from(a, (v, i) => Math.abs(v - b[i]!)));
}
