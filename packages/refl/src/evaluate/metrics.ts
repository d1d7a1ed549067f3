/** How well a scorer agrees with people: preference accuracy, recall and filter at k, best of n, rank correlation (ImageReward, arXiv 2304.05977, §3). */
import { DataError } from "@refl/tensor";

/** Scores of the pictures of one prompt beside their human ranks, 1 the best; equal ranks are ties. */
export interface RatedPrompt {
  readonly ranking: readonly number[];
  readonly scores: readonly number[];
}

/** Pairs that people ordered strictly, those that the scores order alike, and their share, NaN for none. */
export interface PreferenceAccuracy {
  readonly pairs: number;
  readonly correct: number;
  readonly accuracy: number;
}

/** The strict pairs of one prompt: `correct` are those whose better picture has the higher score, so that equal scores are wrong. */
export function countPairs({ ranking, scores }: RatedPrompt): { readonly pairs: number; readonly correct: number } {
  let pairs = 0;
  let correct = 0;
  for (let i = 0; i < ranking.length; i++) {
    for (let j = i + 1; j < ranking.length; j++) {
      if (ranking[i] === ranking[j]) continue;
      const [better, worse] = ranking[i]! < ranking[j]! ? [i, j] : [j, i];
      pairs++;
      if (scores[better]! > scores[worse]!) correct++;
    }
  }
  return { pairs, correct };
}

/** Over the pairs of all prompts together, as ImageReward's `test.py` counts: no mean over prompts, human ties left out, equal scores wrong. */
export function preferenceAccuracy(prompts: readonly RatedPrompt[]): PreferenceAccuracy {
  const counts = prompts.map(countPairs);
  const pairs = counts.reduce((sum, count) => sum + count.pairs, 0);
  const correct = counts.reduce((sum, count) => sum + count.correct, 0);
  return { pairs, correct, accuracy: correct / pairs };
}

/** A share, and the prompts that it was taken over: those with more than k pictures. */
export interface AtK {
  readonly k: number;
  readonly prompts: number;
  readonly share: number;
}

/** The chance that one of the pictures with human rank `wanted`, drawn evenly, is among the k that `before` puts first; equals of others come before it. */
function chanceAmongFirst(
  { ranking, scores }: RatedPrompt,
  wanted: number,
  k: number,
  before: (a: number, b: number) => boolean,
): number {
  const candidates = ranking.flatMap((rank, i) => (rank === wanted ? [i] : []));
  const place = (i: number): number =>
    1 + scores.filter((score, j) => j !== i && (before(score, scores[i]!) || score === scores[i])).length;
  return candidates.filter((i) => place(i) <= k).length / candidates.length;
}

function meanAtK(prompts: readonly RatedPrompt[], k: number, chance: (prompt: RatedPrompt) => number): AtK {
  const usable = prompts.filter(({ ranking }) => ranking.length > k);
  const sum = usable.reduce((total, prompt) => total + chance(prompt), 0);
  return { k, prompts: usable.length, share: sum / usable.length };
}

/** Recall@k: how often the picture that people like best is among the scorer's k best. */
export function recallAt(prompts: readonly RatedPrompt[], k: number): AtK {
  return meanAtK(prompts, k, (prompt) => chanceAmongFirst(prompt, Math.min(...prompt.ranking), k, (a, b) => a > b));
}

/** Filter@k: how often the picture that people like least is among the scorer's k worst. */
export function filterAt(prompts: readonly RatedPrompt[], k: number): AtK {
  return meanAtK(prompts, k, (prompt) => chanceAmongFirst(prompt, Math.max(...prompt.ranking), k, (a, b) => a < b));
}

/**
 * Expected highest of n scores drawn from `scores` without putting back: the mean over all choices of n pictures of the best one's score.
 * @throws DataError when n is not from 1 to their number
 */
export function expectedBest(scores: readonly number[], n: number): number {
  const count = scores.length;
  if (!Number.isInteger(n) || n < 1 || n > count)
    throw new DataError("evaluate", 0, "bestOf", `${n} of ${count} pictures cannot be taken`);
  const sorted = [...scores].sort((a, b) => b - a);
  // Chance that the best of a choice is the i-th of all: it is in, and none of those before it.
  let none = 1;
  let expected = 0;
  for (let i = 0; i < count && none > 0; i++) {
    const chosen = n / (count - i);
    expected += none * Math.min(1, chosen) * sorted[i]!;
    none *= 1 - Math.min(1, chosen);
  }
  return expected;
}

/** Ranks of values, 1 the highest; equal values share the mean of their places. */
export function sharedRanks(values: readonly number[]): number[] {
  return values.map((value) => {
    const above = values.filter((other) => other > value).length;
    const equal = values.filter((other) => other === value).length;
    return above + (equal + 1) / 2;
  });
}

/** Spearman's rank correlation of two lists of one length, ties sharing their ranks; NaN where one list has no differences. */
export function spearman(a: readonly number[], b: readonly number[]): number {
  const [x, y] = [sharedRanks(a), sharedRanks(b)];
  const middle = (x.length + 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    const [dx, dy] = [x[i]! - middle, y[i]! - middle];
    xy += dx * dy;
    xx += dx * dx;
    yy += dy * dy;
  }
  return xy / Math.sqrt(xx * yy);
}
