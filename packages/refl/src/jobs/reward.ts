/** `train reward`: from ranked pictures to a reward model in the run's place. */
import { DataError } from "@refl/tensor";
import type { TrainRewardConfig } from "../config/train-reward.ts";
import { hashText } from "../data/random.ts";
import { trainPrompts } from "../data/splits/train.ts";
import { taskNamed } from "../data/tasks.ts";
import type { Run } from "../events.ts";
import { rewardFromBlip, saveRewardModel, taskTokenizer } from "../models.ts";
import { modelPreset } from "../presets.ts";
import type { ImageReward } from "../scorers/image-reward.ts";
import { observed } from "../train/observer.ts";
import type { RankedPictures } from "../train/pairs.ts";
import { type RewardTrainingResult, trainRewardModel } from "../train/reward.ts";
import { checkPrecision } from "../train/session.ts";
import { resumeFrom, savesIn } from "./checkpoints.ts";
import type { JobContext } from "./context.ts";
import { drawAndRank, foundPrompts, rankFound } from "./ranking.ts";
import { loadPipeline } from "./sampler.ts";
import { inStage, type StageSeconds } from "./stage.ts";
import { unknownWords } from "./words.ts";

/** Rankings cut by prompt: those of the prompts with the lowest hashes are for validation. Throws DataError when a part would be empty. */
export function splitRankings<R extends RankedPictures>(
  rankings: readonly R[],
  validationShare: number,
): { training: R[]; validation: R[] } {
  const prompts = [...new Set(rankings.map((r) => r.prompt))].sort(
    (a, b) => hashText(a) - hashText(b) || (a < b ? -1 : 1),
  );
  const held = new Set(prompts.slice(0, Math.max(1, Math.round(prompts.length * validationShare))));
  const training = rankings.filter((r) => !held.has(r.prompt));
  const validation = rankings.filter((r) => held.has(r.prompt));
  if (!training.length)
    throw new DataError("comparisons", 0, "prompt", `${prompts.length} distinct prompts are too few to hold some out`);
  return { training, validation };
}

/** Rankings that train, and those of other prompts that choose the checkpoint. */
export interface RankingSplit {
  readonly training: readonly RankedPictures[];
  readonly validation: readonly RankedPictures[];
}

export interface TrainRewardOptions {
  /** Ranked pictures instead of those that a simulated annotator ranks. */
  readonly rankings?: readonly RankedPictures[];
  /** Goes on from the latest checkpoint of the run's place. */
  readonly resume?: boolean;
}

/**
 * Trains as the config says, on the rankings given or on pictures of the base model that a simulated annotator ranks, and leaves the reward model in the
 * run's place. A resumed run draws and ranks the same pictures again, since they are a function of the config.
 */
export async function* runTrainReward(
  config: TrainRewardConfig,
  context: JobContext,
  { rankings, resume = false }: TrainRewardOptions = {},
): Run<RewardTrainingResult> {
  const seconds: StageSeconds = {};
  const scorer = await startOfReward(config, context);
  try {
    const prompts = (rankings ?? []).map(({ prompt }) => prompt);
    yield* unknownWords(scorer.tokenizer, prompts, "the reward model learns them all as the same word");
    const split = rankings
      ? splitRankings(rankings, config.validationShare)
      : yield* drawRankings(config, context, seconds);
    const result = yield* learnRankings(config, context, scorer, split, { seconds, resume });
    yield { type: "result", summary: result };
    return result;
  } finally {
    scorer.model.dispose();
  }
}

/** The BLIP that the config starts from, with a fresh head. */
export async function startOfReward(
  config: TrainRewardConfig,
  { device, shipped, open }: JobContext,
): Promise<ImageReward> {
  const task = taskNamed(config.task);
  checkPrecision(device, config.precision);
  const folder = config.from ? await open(config.from) : (await shipped(task.name)).blip;
  const { rewardHead } = modelPreset(task, taskTokenizer(task).vocabSize);
  return rewardFromBlip(folder, device, rewardHead, config.seed);
}

/** Rankings of pictures that the base model draws, and of found ones, which only train. */
export async function* drawRankings(
  config: TrainRewardConfig,
  { device, open, shipped, observer, signal }: JobContext,
  seconds: StageSeconds = {},
): Run<RankingSplit> {
  const task = taskNamed(config.task);
  const { seed, validationShare } = config;
  const base = await loadPipeline(
    config.base ? await open(config.base) : (await shipped(task.name)).base,
    device,
    config.sampler,
  );
  try {
    const prompts = trainPrompts(task, config.prompts, seed);
    const options = { ...config, ...(observer ? { observer } : {}), ...(signal ? { signal } : {}) };
    const { training, validation } = splitRankings(
      yield* drawAndRank(task, base, prompts, options, seconds),
      validationShare,
    );
    const unseen = new Set(validation.map(({ prompt }) => prompt));
    const found = await observed(observer, "ranking", async () =>
      rankFound(task, foundPrompts(task, config.foundPrompts, seed, unseen), config),
    );
    return { training: [...training, ...found], validation };
  } finally {
    base.dispose();
  }
}

/** Trains `scorer` on rankings as the config says. */
export async function* learnRankings(
  config: TrainRewardConfig,
  { device, sink, signal, observer }: JobContext,
  scorer: ImageReward,
  { training, validation }: RankingSplit,
  { seconds = {}, resume = false }: { readonly seconds?: StageSeconds; readonly resume?: boolean } = {},
): Run<RewardTrainingResult> {
  const resumed = resume ? await resumeFrom(sink) : {};
  return yield* inStage("reward", `${training.length} rankings`, seconds, device, () =>
    trainRewardModel({
      ...config,
      emaDecay: config.ema?.decay ?? null,
      scorer,
      training,
      validation,
      heldOut: validation,
      size: taskNamed(config.task).size,
      ...resumed,
      ...(sink ? { save: savesIn(sink, config.saveEvery, (folder) => saveRewardModel(scorer, folder)) } : {}),
      ...(observer ? { observer } : {}),
      ...(signal ? { signal } : {}),
    }),
  );
}
