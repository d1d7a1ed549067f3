/** `score` and `rank`: a scorer's opinion of pictures, and their order for each prompt. */
import { DataError } from "@refl/tensor";
import type { ScoreConfig, ScorerConfig } from "../config/score.ts";
import type { Run } from "../events.ts";
import { EncodedPictures, scorePairs } from "../scorers/encoded-pictures.ts";
import { openScorer, type Scorer } from "../scorers/open.ts";
import { type Picture, type ScorerName, strictRanks } from "../scorers/scorer.ts";
import type { JobContext } from "./context.ts";
import { inStage } from "./stage.ts";
import { cutTexts, unknownWords } from "./words.ts";

/** A picture to be scored, where it came from, and what it is asked about. */
export interface ScoredInput {
  readonly file: string;
  /** Not looked at, and may be empty, where the scorer asks about no prompt. */
  readonly prompts: readonly string[];
  /** Reads the picture; called once, when its turn comes. */
  readonly read: () => Picture | Promise<Picture>;
}

/**
 * A picture's score for a prompt. ImageReward: how far above the mean of the reward model's training pictures, in their deviations. CLIP and BLIP: a cosine,
 * or BLIP's probability of a match. Aesthetic: about 1 to 10, with an empty prompt.
 */
export interface ScoredPicture {
  readonly file: string;
  readonly prompt: string;
  readonly score: number;
}

/** A picture's place among those of its prompt, 1 the best, as ImageReward ranks: each place once, of equal scores the earlier picture first. */
export interface RankedPicture extends ScoredPicture {
  readonly rank: number;
}

/** What `inputs` ask about: one empty prompt each where the scorer asks about none. */
const promptsOf = (scorer: Scorer, { prompts }: ScoredInput): readonly string[] =>
  scorer.tokenizer === null ? [""] : prompts;

/**
 * Scores batches of pictures in their order; each goes through the image tower once, whatever it is asked. After an abort, what is scored by then is given
 * back. Throws `DataError` when there is no picture.
 */
export async function* scorePictures(
  config: ScorerConfig,
  inputs: readonly ScoredInput[],
  context: JobContext,
): Run<ScoredPicture[]> {
  const { device, signal } = context;
  if (inputs.length === 0) throw new DataError("score", 0, "images", "give at least one picture");
  const scorer = yield* inStage("load", config.model, {}, device, () => openScorer(config, context));
  const pictures = new EncodedPictures(scorer);
  try {
    const total = inputs.reduce((sum, input) => sum + promptsOf(scorer, input).length, 0);
    if (scorer.tokenizer === null) {
      if (inputs.some(({ prompts }) => prompts.length > 0))
        yield { type: "warning", message: "the aesthetic score asks about no prompt: each picture is scored once" };
    } else {
      const prompts = inputs.flatMap((input) => input.prompts);
      yield* unknownWords(scorer.tokenizer, prompts, "the scorer reads them all as the same word");
      yield* cutTexts(scorer.tokenizer, prompts);
    }
    const message = `${inputs.length} pictures, ${total} scores`;
    return yield* inStage("score", message, {}, device, async function* (): Run<ScoredPicture[]> {
      const scored: ScoredPicture[] = [];
      for (let first = 0; first < inputs.length && !signal?.aborted; first += config.batchSize) {
        const batch = inputs.slice(first, first + config.batchSize);
        using encoded = await pictures.encode(await Promise.all(batch.map((input) => input.read())));
        const pairs = batch.flatMap((input, row) => promptsOf(scorer, input).map((prompt) => ({ row, prompt })));
        const scores = await scorePairs(scorer, encoded, pairs, config.batchSize);
        scored.push(...pairs.map(({ row, prompt }, i) => ({ file: batch[row]!.file, prompt, score: scores[i]! })));
        yield { type: "step", stage: "score", step: scored.length, total, metrics: {} };
      }
      return scored;
    });
  } finally {
    pictures.dispose();
    scorer.dispose();
  }
}

/** What a scorer's number is called in tables. */
const TITLES: Readonly<Record<ScorerName, string>> = {
  imagereward: "reward",
  clip: "CLIP score",
  aesthetic: "aesthetic score",
  blip: "BLIP score",
};

/** One score per picture and prompt, in the pictures' order. Throws `DataError` when there is no picture. */
export async function* runScore(
  config: ScoreConfig,
  inputs: readonly ScoredInput[],
  context: JobContext,
): Run<readonly ScoredPicture[]> {
  const scored = yield* scorePictures(config, inputs, context);
  const rows = scored.map(({ file, prompt, score }) => [file, score, prompt]);
  yield { type: "table", title: "Scores", header: ["picture", TITLES[config.scorer], "prompt"], rows };
  yield { type: "result", summary: scored };
  return scored;
}

/** The places of pictures among those of their prompt, best first; prompts in the order in which they first come. */
export function rankByScore(scored: readonly ScoredPicture[]): RankedPicture[] {
  const byPrompt = new Map<string, ScoredPicture[]>();
  for (const picture of scored) {
    const group = byPrompt.get(picture.prompt) ?? [];
    group.push(picture);
    byPrompt.set(picture.prompt, group);
  }
  return [...byPrompt.values()].flatMap((group) => {
    const ranks = strictRanks(group.map(({ score }) => score));
    return group.map((picture, i) => ({ ...picture, rank: ranks[i]! })).sort((a, b) => a.rank - b.rank);
  });
}

/** The pictures of each prompt, the best first. Throws `DataError` when there is no picture. */
export async function* runRank(
  config: ScoreConfig,
  inputs: readonly ScoredInput[],
  context: JobContext,
): Run<readonly RankedPicture[]> {
  const ranked = rankByScore(yield* scorePictures(config, inputs, context));
  const rows = ranked.map(({ file, prompt, score, rank }) => [prompt, rank, score, file]);
  yield { type: "table", title: "Ranking", header: ["prompt", "rank", TITLES[config.scorer], "picture"], rows };
  yield { type: "result", summary: ranked };
  return ranked;
}
