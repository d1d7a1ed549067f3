/** `eval models`: text-to-image models by the mean score of their pictures, best of n, and their order beside people's. */
import { DataError } from "@refl/tensor";
import type { EvaluateModelsConfig } from "../config/evaluate-models.ts";
import type { PromptScores } from "../data/scores-file.ts";
import { type Estimate, estimateMean, formatEstimate, type IntervalOptions } from "../evaluate/intervals.ts";
import { expectedBest, sharedRanks, spearman } from "../evaluate/metrics.ts";
import type { Run, TableEvent } from "../events.ts";
import type { JobContext } from "./context.ts";
import { type ScoredInput, scorePictures } from "./score.ts";

/** A model whose pictures have scores already, or are to be scored. */
export type ModelPictures =
  | { readonly name: string; readonly scores: readonly PromptScores[] }
  | { readonly name: string; readonly inputs: readonly ScoredInput[] };

/** Scores of a model's pictures by prompt. */
export interface ModelScores {
  readonly name: string;
  readonly groups: readonly (readonly number[])[];
}

/** One model's place. */
export interface ModelResult {
  readonly name: string;
  readonly pictures: number;
  /** Mean score of all pictures; the interval is over prompts. */
  readonly mean: Estimate;
  /** 1 is the highest mean; equal means share a rank. */
  readonly rank: number;
  readonly humanRank?: number;
  /** Mean over prompts of the best of n pictures, n being powers of two up to what every prompt has. */
  readonly bestOf: readonly { readonly n: number; readonly mean: Estimate }[];
}

export interface ModelsResult {
  readonly models: readonly ModelResult[];
  /** Spearman's correlation of the ranks with people's, where these were given. */
  readonly spearman?: number;
}

/** Scores of all models' pictures; those that have none are scored together. Throws `DataError` without a scorer's model. */
export async function* scoreModels(
  config: EvaluateModelsConfig,
  models: readonly ModelPictures[],
  context: JobContext | null,
): Run<ModelScores[]> {
  const inputs = models.flatMap((model) => ("inputs" in model ? model.inputs : []));
  const byFile = new Map<string, { prompt: string; score: number }[]>();
  if (inputs.length) {
    const { model } = config;
    if (model === undefined || context === null)
      throw new DataError("eval models", 0, "model", "missing; name the scorer's weights with --model");
    for (const { file, ...scored } of yield* scorePictures({ ...config, model }, inputs, context)) {
      byFile.set(file, [...(byFile.get(file) ?? []), scored]);
    }
    context.signal?.throwIfAborted();
  }
  return models.map((model) => {
    if ("scores" in model) return { name: model.name, groups: model.scores.map(({ rewards }) => rewards) };
    const groups = new Map<string, number[]>();
    for (const { file, prompts } of model.inputs) {
      for (const { prompt, score } of byFile.get(file)!) {
        // Without a prompt of the scorer's own, pictures belong together by what they were drawn for.
        const key = prompt || (prompts[0] ?? file);
        groups.set(key, [...(groups.get(key) ?? []), score]);
      }
    }
    return { name: model.name, groups: [...groups.values()] };
  });
}

/** Means, ranks, best of n, and the correlation with people's ranks. Throws `DataError` when there are not as many of these as models. */
export function evaluateModels(
  scores: readonly ModelScores[],
  humanRanks: readonly number[] | null,
  options: IntervalOptions,
): ModelsResult {
  if (humanRanks && humanRanks.length !== scores.length)
    throw new DataError("eval models", 0, "humanRanks", `${humanRanks.length} ranks for ${scores.length} models`);
  const means = scores.map(({ groups }) => estimateMean(groups, options));
  const values = means.map(({ value }) => value);
  const ranks = sharedRanks(values);
  const most = Math.min(...scores.flatMap(({ groups }) => groups.map(({ length }) => length)));
  const counts = Array.from({ length: Math.floor(Math.log2(most)) }, (_, i) => 2 ** (i + 1));
  const models = scores.map(({ name, groups }, i) => ({
    name,
    pictures: groups.reduce((sum, { length }) => sum + length, 0),
    mean: means[i]!,
    rank: ranks[i]!,
    ...(humanRanks ? { humanRank: humanRanks[i]! } : {}),
    bestOf: counts.map((n) => ({
      n,
      mean: estimateMean(
        groups.map((group) => [expectedBest(group, n)]),
        options,
      ),
    })),
  }));
  // Ranks grow as scores fall.
  const people = humanRanks?.map((rank) => -rank);
  return { models, ...(people ? { spearman: spearman(values, people) } : {}) };
}

/** The models in the order of their ranks. */
export function modelsTable({ models, spearman: correlation }: ModelsResult): TableEvent {
  const counts = models[0]?.bestOf.map(({ n }) => n) ?? [];
  const human = models.some(({ humanRank }) => humanRank !== undefined);
  const rows = models
    .toSorted((a, b) => a.rank - b.rank)
    .map(({ name, rank, humanRank, mean, bestOf, pictures }) => [
      name,
      rank,
      ...(human ? [humanRank] : []),
      formatEstimate(mean),
      ...bestOf.map((best) => formatEstimate(best.mean)),
      pictures,
    ]);
  const title = correlation === undefined ? "Models" : `Models (Spearman to people's ranks: ${correlation.toFixed(2)})`;
  const best = counts.map((n) => `best of ${n}`);
  return {
    type: "table",
    title,
    header: ["model", "rank", ...(human ? ["people's"] : []), "mean score", ...best, "pictures"],
    rows,
  };
}
