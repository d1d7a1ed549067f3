/** `eval rankings`: a scorer's agreement with people's rankings of pictures. */
import { DataError } from "@refl/tensor";
import type { EvaluateRankingsConfig } from "../config/evaluate-rankings.ts";
import type { Comparison } from "../data/comparisons.ts";
import type { PromptScores } from "../data/scores-file.ts";
import { type Estimate, estimate, formatEstimate, type IntervalOptions } from "../evaluate/intervals.ts";
import { type AtK, countPairs, filterAt, preferenceAccuracy, recallAt } from "../evaluate/metrics.ts";
import type { Run, TableEvent } from "../events.ts";
import type { Picture } from "../scorers/scorer.ts";
import type { JobContext } from "./context.ts";
import { type ScoredInput, scorePictures } from "./score.ts";

/** The k of recall@k and filter@k. */
const KS = [1, 2, 4] as const;

/** A scorer's agreement with rankings. */
export interface RankingsResult {
  /** Rankings, and strict and tied pairs in them. */
  readonly rankings: number;
  readonly pairs: number;
  readonly ties: number;
  /** Share of the strict pairs that the scores order alike, over all pairs together; the interval is over rankings. */
  readonly accuracy: Estimate;
  /** Shares of the rankings with more than k pictures. */
  readonly recall: readonly AtK[];
  readonly filter: readonly AtK[];
}

/** Where the pictures of rankings lie. */
export interface RankedFiles {
  /** The path of a picture that a ranking names. */
  readonly pathOf: (name: string) => string;
  readonly read: (path: string) => Promise<Picture>;
}

const pairKey = (path: string, prompt: string): string => JSON.stringify([path, prompt]);

/** Scores of each comparison's pictures in their order, from the config's scorer; each picture is read once. Throws `DataError` without a model. */
export async function* scoreComparisons(
  config: EvaluateRankingsConfig,
  comparisons: readonly Comparison[],
  { pathOf, read }: RankedFiles,
  context: JobContext,
): Run<number[][]> {
  const { model } = config;
  if (model === undefined)
    throw new DataError(
      "eval rankings",
      0,
      "model",
      "missing; name the scorer's weights with --model, or scores with --scores",
    );
  const asked = new Map<string, Set<string>>();
  for (const { prompt, generations } of comparisons) {
    for (const name of generations) {
      const path = pathOf(name);
      asked.set(path, (asked.get(path) ?? new Set()).add(prompt));
    }
  }
  const inputs = Array.from(
    asked,
    ([file, prompts]): ScoredInput => ({ file, prompts: [...prompts], read: () => read(file) }),
  );
  const scored = yield* scorePictures({ ...config, model }, inputs, context);
  context.signal?.throwIfAborted();
  const scores = new Map(scored.map(({ file, prompt, score }) => [pairKey(file, prompt), score]));
  const scoreOf = (path: string, prompt: string): number => {
    // A scorer that asks about no prompt has one score for all.
    return scores.get(pairKey(path, prompt)) ?? scores.get(pairKey(path, ""))!;
  };
  return comparisons.map(({ prompt, generations }) => generations.map((name) => scoreOf(pathOf(name), prompt)));
}

/** Scores of comparisons from a file's records: by id, else by place. Throws `DataError` where records and pictures do not fit. */
export function scoresOfComparisons(
  file: string,
  records: readonly PromptScores[],
  comparisons: readonly Comparison[],
): number[][] {
  const byId = new Map(records.flatMap((record) => (record.id === null ? [] : [[record.id, record] as const])));
  return comparisons.map(({ id, generations }, i) => {
    const record = byId.size ? byId.get(id) : records[i];
    if (!record) throw new DataError(file, 0, "id", `has no scores of the item ${JSON.stringify(id)}`);
    if (record.rewards.length !== generations.length)
      throw new DataError(
        file,
        0,
        "rewards",
        `has ${record.rewards.length} scores of the item ${JSON.stringify(id)}, which has ${generations.length} pictures`,
      );
    return [...record.rewards];
  });
}

/** Preference accuracy, recall@k and filter@k of scores beside the comparisons' ranks. */
export function evaluateRankings(
  comparisons: readonly Comparison[],
  scores: readonly (readonly number[])[],
  options: IntervalOptions,
): RankingsResult {
  const rated = comparisons.map(({ ranking }, i) => ({ ranking, scores: scores[i]! }));
  const { pairs } = preferenceAccuracy(rated);
  const shares = rated.map(countPairs).map(({ pairs: count, correct: sum }) => ({ sum, count }));
  const all = comparisons.reduce((sum, { ranking: { length } }) => sum + (length * (length - 1)) / 2, 0);
  return {
    rankings: comparisons.length,
    pairs,
    ties: all - pairs,
    accuracy: estimate(shares, options),
    recall: KS.map((k) => recallAt(rated, k)),
    filter: KS.map((k) => filterAt(rated, k)),
  };
}

const percent = (share: number): string => (Number.isNaN(share) ? "–" : (100 * share).toFixed(2));

/** The result as a table, shares in percent. */
export function rankingsTable({ rankings, pairs, ties, accuracy, recall, filter }: RankingsResult): TableEvent {
  const { value, low, high, prompts } = accuracy;
  const inPercent = { value: 100 * value, low: 100 * low, high: 100 * high, prompts };
  const atK = (name: string, found: readonly AtK[]) =>
    found.map(({ k, prompts: over, share }) => [`${name}@${k}`, percent(share), `${over} rankings of more than ${k}`]);
  const rows = [
    ["preference accuracy", formatEstimate(inPercent, 2), `${pairs} strict pairs, ${ties} tied ones left out`],
    ...atK("recall", recall),
    ...atK("filter", filter),
  ];
  return { type: "table", title: `Agreement with ${rankings} rankings, in percent`, header: ["", "share", "of"], rows };
}
