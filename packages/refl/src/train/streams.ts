/** The random streams of training: every number is a function of (seed, use, index), so that resuming and cutting work change nothing. */
import { type HostTensor, PhiloxStream } from "@refl/tensor";
import { streamOf, uniformAt } from "../data/random.ts";

/** One stream per picture `index` of a use: noise of the same picture is the same in any batch. */
export function pictureStreams(seed: number, use: string, first: number, count: number): PhiloxStream[] {
  const base = streamOf(use);
  return Array.from({ length: count }, (_, i) => new PhiloxStream(seed, (base + first + i) >>> 0));
}

/** The words of {@link pictureStreams} as data for random tensors, [count, 4] u32. */
export function pictureWords(seed: number, use: string, first: number, count: number): HostTensor {
  const words = pictureStreams(seed, use, first, count).flatMap((stream) => [...stream.words, 0]);
  return { values: Uint32Array.from(words), shape: [count, 4], dtype: "u32" };
}

/** A number for each picture, as a factor of pictures [count, C, H, W]. */
export const column = (values: readonly number[]): HostTensor => ({ values, shape: [values.length, 1, 1, 1] });

/** Uniform numbers in [0, 1) for pictures first … first + count − 1 of a use. */
export function uniforms(seed: number, use: string, first: number, count: number): number[] {
  const stream = streamOf(use);
  return Array.from({ length: count }, (_, i) => uniformAt(seed, stream, first + i));
}
