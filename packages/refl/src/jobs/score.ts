/** `score` and `rank`: a reward model's opinion of pictures, and their order for each prompt. */
import { noGrad } from "@refl/autograd";
import { cat, DataError, scope, tensor } from "@refl/tensor";
import type { ScoreConfig } from "../config/score.ts";
import { stackPlanes } from "../data/pixels.ts";
import type { Run } from "../events.ts";
import type { RgbImage } from "../io/grid.ts";
import { loadRewardModel } from "../models.ts";
import { type ImageReward, tokenize } from "../scorers/image-reward.ts";
import type { JobContext } from "./context.ts";
import { inStage } from "./stage.ts";
import { cutTexts, unknownWords } from "./words.ts";

/** A picture to be scored, its prompt, and where it came from. */
export interface ScoredInput {
  readonly file: string;
  readonly prompt: string;
  readonly image: RgbImage;
}

/** A picture's reward: how far above the mean of the reward model's training pictures, in their deviations. */
export interface ScoredPicture {
  readonly file: string;
  readonly prompt: string;
  readonly reward: number;
}

/** A picture's place among those of its prompt: 1 is the best; equal rewards share a place. */
export interface RankedPicture extends ScoredPicture {
  readonly rank: number;
}

/** Rewards of pictures of any sizes: each is brought to the reward model's size by itself, and its towers take them together. */
async function scoreBatch(scorer: ImageReward, batch: readonly ScoredInput[]): Promise<number[]> {
  const { model, device, tokenizer } = scorer;
  const rewards = noGrad(() =>
    scope(() => {
      const prepared = batch.map(({ image }) => {
        const picture = tensor(device, stackPlanes([image.rgb]), [1, 3, image.height, image.width]);
        return model.preprocess(picture);
      });
      const prompts = batch.map(({ prompt }) => prompt);
      const { ids, mask } = tokenize(device, tokenizer, prompts);
      return model.normalise(model.rawReward(model.encodeImage(cat(prepared, 0)), ids, mask)).reshape(-1);
    }),
  );
  try {
    return [...(await rewards.data())];
  } finally {
    rewards.dispose();
  }
}

/** Scores pictures in their order. Throws `DataError` when there is none. After an abort, what is scored by then is given back. */
async function* scoreAll(
  config: ScoreConfig,
  pictures: readonly ScoredInput[],
  { device, open, signal }: JobContext,
): Run<ScoredPicture[]> {
  if (pictures.length === 0) throw new DataError("score", 0, "images", "give at least one picture");
  const scorer = yield* inStage("load", config.reward, {}, device, async () =>
    loadRewardModel(await open(config.reward), device),
  );
  try {
    const prompts = pictures.map(({ prompt }) => prompt);
    yield* unknownWords(scorer.tokenizer, prompts, "the reward model reads them all as the same word");
    yield* cutTexts(scorer.tokenizer, prompts);
    return yield* inStage("score", `${pictures.length} pictures`, {}, device, async function* (): Run<ScoredPicture[]> {
      const scored: ScoredPicture[] = [];
      for (let first = 0; first < pictures.length && !signal?.aborted; first += config.batchSize) {
        const batch = pictures.slice(first, first + config.batchSize);
        const rewards = await scoreBatch(scorer, batch);
        scored.push(...batch.map(({ file, prompt }, i) => ({ file, prompt, reward: rewards[i]! })));
        yield { type: "step", stage: "score", step: scored.length, total: pictures.length, metrics: {} };
      }
      return scored;
    });
  } finally {
    scorer.model.dispose();
  }
}

/** One reward per picture, in the pictures' order. */
export async function* runScore(
  config: ScoreConfig,
  pictures: readonly ScoredInput[],
  context: JobContext,
): Run<readonly ScoredPicture[]> {
  const scored = yield* scoreAll(config, pictures, context);
  const rows = scored.map(({ file, prompt, reward }) => [file, reward, prompt]);
  yield { type: "table", title: "Rewards", header: ["picture", "reward", "prompt"], rows };
  yield { type: "result", summary: scored };
  return scored;
}

/** The places of pictures among those of their prompt, best first; prompts in the order in which they first come. */
export function rankByReward(scored: readonly ScoredPicture[]): RankedPicture[] {
  const byPrompt = new Map<string, ScoredPicture[]>();
  for (const picture of scored) {
    const group = byPrompt.get(picture.prompt) ?? [];
    group.push(picture);
    byPrompt.set(picture.prompt, group);
  }
  return [...byPrompt.values()].flatMap((group) =>
    group
      .map((picture) => ({ ...picture, rank: 1 + group.filter((other) => other.reward > picture.reward).length }))
      .sort((a, b) => a.rank - b.rank),
  );
}

/** The pictures of each prompt, the best first. */
export async function* runRank(
  config: ScoreConfig,
  pictures: readonly ScoredInput[],
  context: JobContext,
): Run<readonly RankedPicture[]> {
  const ranked = rankByReward(yield* scoreAll(config, pictures, context));
  const rows = ranked.map(({ file, prompt, reward, rank }) => [prompt, rank, reward, file]);
  yield { type: "table", title: "Ranking", header: ["prompt", "rank", "reward", "picture"], rows };
  yield { type: "result", summary: ranked };
  return ranked;
}
