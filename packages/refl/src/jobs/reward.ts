/** `train reward`: from ranked pictures to a reward model in the run's place. */
import { DataError } from "@refl/tensor";
import type { TrainRewardConfig } from "../config/train-reward.ts";
import { hashText } from "../data/random.ts";
import { trainPrompts } from "../data/splits/train.ts";
import { taskNamed } from "../data/tasks.ts";
import type { Run } from "../events.ts";
import { rewardFromBlip, saveRewardModel, taskTokenizer } from "../models.ts";
import { modelPreset } from "../presets.ts";
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
  const { device, sink, signal, observer } = context;
  const task = taskNamed(config.task);
  checkPrecision(device, config.precision);
  const seconds: StageSeconds = {};
  const shipped = await context.shipped(task.name);
  const scorer = await rewardFromBlip(
    config.from ? await context.open(config.from) : shipped.blip,
    device,
    modelPreset(task, taskTokenizer(task).vocabSize).rewardHead,
    config.seed,
  );
  try {
    const prompts = (rankings ?? []).map(({ prompt }) => prompt);
    yield* unknownWords(scorer.tokenizer, prompts, "the reward model learns them all as the same word");
    let ranked = rankings;
    if (!ranked) {
      const folder = config.base ? await context.open(config.base) : shipped.base;
      const base = await loadPipeline(folder, device, config.sampler);
      try {
        ranked = yield* drawAndRank(
          task,
          base,
          trainPrompts(task, config.prompts, config.seed),
          { ...config, ...(signal ? { signal } : {}) },
          seconds,
        );
      } finally {
        base.dispose();
      }
    }
    const { training, validation } = splitRankings(ranked, config.validationShare);
    if (!rankings) {
      const unseen = new Set(validation.map(({ prompt }) => prompt));
      training.push(...rankFound(task, foundPrompts(task, config.foundPrompts, config.seed, unseen), config));
    }
    const resumed = resume ? await resumeFrom(sink) : {};
    const result = yield* inStage("reward", `${training.length} rankings`, seconds, device, () =>
      trainRewardModel({
        ...config,
        emaDecay: config.ema?.decay ?? null,
        scorer,
        training,
        validation,
        heldOut: validation,
        size: task.size,
        ...resumed,
        ...(sink ? { save: savesIn(sink, config.saveEvery, (folder) => saveRewardModel(scorer, folder)) } : {}),
        ...(observer ? { observer } : {}),
        ...(signal ? { signal } : {}),
      }),
    );
    yield { type: "result", summary: result };
    return result;
  } finally {
    scorer.model.dispose();
  }
}
