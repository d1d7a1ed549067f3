/** Ranked pictures as the reward model trains on them: rankings with decoded pictures, and the pairs that follow from them. */
import type { Comparison } from "../data/comparisons.ts";

/** One ranking with its pictures: `rgb[i]` is picture i as HWC bytes, `ranking[i]` its rank (1 = best, ties allowed). */
export interface RankedPictures {
  readonly prompt: string;
  readonly rgb: readonly Uint8Array[];
  readonly ranking: readonly number[];
}

/** Joins comparisons with their pictures; `pictureOf` finds a generation's pixels by its name. */
export function rankedPictures(
  comparisons: readonly Comparison[],
  pictureOf: (name: string) => Uint8Array,
): RankedPictures[] {
  return comparisons.map(({ prompt, generations, ranking }) => ({ prompt, rgb: generations.map(pictureOf), ranking }));
}

/** A pair of picture numbers within a batch: the better and the worse. */
export type BatchPair = readonly [better: number, worse: number];

/** All strict pairs of several rankings whose pictures are numbered one after the other; ties give none (arXiv 2304.05977 §2.2). */
export function strictPairs(rankings: readonly (readonly number[])[]): BatchPair[] {
  const pairs: BatchPair[] = [];
  let base = 0;
  for (const ranking of rankings) {
    for (let i = 0; i < ranking.length; i++) {
      for (let j = i + 1; j < ranking.length; j++) {
        if (ranking[i]! < ranking[j]!) pairs.push([base + i, base + j]);
        else if (ranking[i]! > ranking[j]!) pairs.push([base + j, base + i]);
      }
    }
    base += ranking.length;
  }
  return pairs;
}
