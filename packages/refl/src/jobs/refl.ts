/** `train refl`: tuning a text-to-image model by a reward model, with its control arm beside it. */
import type { TextToImagePipeline } from "@refl/models";
import type { ReflTrainingConfig, TrainReflConfig } from "../config/train-refl.ts";
import { intAt, streamOf } from "../data/random.ts";
import { trainPrompts, validationPrompts } from "../data/splits/train.ts";
import type { PictureTask } from "../data/task.ts";
import { taskNamed } from "../data/tasks.ts";
import { judgePicturesOf } from "../evaluate/arms.ts";
import type { Run } from "../events.ts";
import { aggregate } from "../judge/aggregate.ts";
import { type Taste, tasteNamed } from "../judge/taste.ts";
import { loadRewardModel } from "../models.ts";
import type { ImageReward } from "../scorers/image-reward.ts";
import { type ExampleSource, taskExamples } from "../train/examples.ts";
import { type Look, type ReflOptions, type ReflResult, trainRefl } from "../train/refl.ts";
import { checkPrecision, type Precision } from "../train/session.ts";
import { objectiveOf } from "./base.ts";
import { resumeFrom, savesIn } from "./checkpoints.ts";
import type { JobContext } from "./context.ts";
import { trainingGrids } from "./grids.ts";
import { openModel } from "./open-model.ts";
import { inStage } from "./stage.ts";
import { unknownWords } from "./words.ts";

/** Pictures of validation prompts that the judge looks at during tuning, and the seed that they are drawn from every time. */
const LOOK = { pictures: 84, seed: 7 } as const;

/** Prompts that tuning draws from. */
const PROMPTS = 1024;

const PROMPT = streamOf("refl prompt");

/** The tuned arm and its control, which is the same run with λ = 0. */
export type ReflArm = "refl" | "control";

export interface ArmOptions {
  readonly arm: ReflArm;
  readonly task: PictureTask;
  readonly taste: Taste;
  readonly config: ReflTrainingConfig & {
    readonly precision?: Precision;
    readonly seed: number;
    readonly samplerSteps: number;
    readonly guidance: number;
  };
  readonly pipeline: TextToImagePipeline;
  readonly scorer: ImageReward;
  /** Pictures for the pre-training loss instead of the task's own. */
  readonly examples?: ExampleSource;
  readonly samples?: NonNullable<ReflOptions["samples"]>;
  readonly resume?: NonNullable<ReflOptions["resume"]> | undefined;
  readonly save?: NonNullable<ReflOptions["save"]> | undefined;
  readonly observer?: NonNullable<ReflOptions["observer"]>;
  readonly signal?: AbortSignal;
}

/** Tunes one arm on a task's prompts and pictures; looks are the taste's score of pictures of validation prompts. */
export async function* tuneArm({
  arm,
  task,
  taste,
  config,
  pipeline,
  scorer,
  examples,
  samples,
  resume,
  save,
  observer,
  signal,
}: ArmOptions): Run<ReflResult> {
  const prompts = trainPrompts(task, PROMPTS, config.seed + 1);
  const looked = validationPrompts(task, LOOK.pictures, config.seed);
  const texts = looked.map((p) => p.text);
  const attributes = looked.map((p) => p.attributes);
  const look = async (): Promise<Look> => {
    const drawn = await pipeline.generate({
      prompts: texts,
      seeds: LOOK.seed,
      steps: config.samplerSteps,
      guidanceScale: config.guidance,
    });
    const rgb = (await drawn.data()) as Float32Array;
    drawn.dispose();
    const { mean, standardError } = aggregate(judgePicturesOf(task, taste, { rgb, attributes }).scores);
    const rewards = await scorer.score(texts, rgb, task.size);
    return { judge: mean, standardError, reward: rewards.reduce((a, b) => a + b, 0) / rewards.length };
  };
  return yield* trainRefl({
    ...config,
    emaDecay: config.ema.decay,
    pipeline,
    scorer,
    prompt: (seed, index) => prompts[intAt(seed, PROMPT, index, prompts.length)]!.text,
    examples: examples ?? taskExamples(task),
    objective: objectiveOf(config),
    lambda: arm === "refl" ? config.lambda : 0,
    pretrainingBatchSize: config.variant === "paper" ? config.pretrainingBatchSize : 0,
    stage: arm,
    validation: config.earlyStop
      ? { every: config.earlyStop.everySteps, patience: config.earlyStop.patience, look }
      : null,
    ...(samples ? { samples } : {}),
    ...(resume ? { resume } : {}),
    ...(save ? { save } : {}),
    ...(observer ? { observer } : {}),
    ...(signal ? { signal } : {}),
  });
}

export interface TrainReflOptions {
  /** Pictures for the pre-training loss instead of the task's own. */
  readonly examples?: ExampleSource;
  /** Goes on from the latest checkpoint of the run's place. */
  readonly resume?: boolean;
}

/**
 * Tunes as the config says and leaves the tuned model, and the control's, in the run's place. The reward's arm saves its state as it goes and
 * resumes; the control, which draws nothing and is quick, is made anew.
 */
export async function* runTrainRefl(
  config: TrainReflConfig,
  context: JobContext,
  { examples, resume = false }: TrainReflOptions = {},
): Run<Partial<Record<ReflArm, ReflResult>>> {
  const { device, sink, signal, observer } = context;
  const task = taskNamed(config.task);
  const taste = tasteNamed(config.taste, task);
  checkPrecision(device, config.precision);
  const scorer = await loadRewardModel(await context.open(config.reward), device);
  // It is neither trained nor saved.
  if (config.precision === "f16") scorer.model.narrow();
  const results: Partial<Record<ReflArm, ReflResult>> = {};
  const common = {
    ...{ task, taste, config, scorer },
    ...(examples ? { examples } : {}),
    ...(observer ? { observer } : {}),
    ...(signal ? { signal } : {}),
  };
  try {
    for (const arm of config.control ? (["refl", "control"] as const) : (["refl"] as const)) {
      const source = { ...config, model: config.base, lora: config.baseLora };
      const pipeline = await openModel(source, context, config.sampler);
      const saved =
        arm === "refl" && sink
          ? {
              ...(resume ? await resumeFrom(sink) : {}),
              save: savesIn(sink, config.saveEvery, (folder) => pipeline.save(folder)),
            }
          : {};
      try {
        const message = arm === "refl" ? `taste ${taste.name}` : "same data and steps, no reward";
        const captions = arm === "refl" ? (examples?.captions ?? []) : [];
        yield* unknownWords(pipeline.tokenizer, captions, "the model reads them all as the same word");
        const samples = trainingGrids(task, pipeline, config);
        const options = { arm, pipeline, samples, ...common, ...saved };
        results[arm] = yield* inStage(arm, message, {}, device, () => tuneArm(options));
        if (signal?.aborted) break;
        // The control's model becomes a folder beside the checkpoints.
        if (sink && arm === "control") await sink.writeFolder("control", (folder) => pipeline.save(folder));
      } finally {
        pipeline.dispose();
      }
    }
  } finally {
    scorer.model.dispose();
  }
  yield { type: "result", summary: results };
  return results;
}
