/** `train refl`: tuning a text-to-image model by a reward model, with its control arm beside it. */
import type { TextToImagePipeline } from "@refl/models";
import { DataError } from "@refl/tensor";
import type { ReflTrainingConfig, TrainReflConfig } from "../config/train-refl.ts";
import { taskNamed } from "../data/tasks.ts";
import type { Run } from "../events.ts";
import { tasteNamed } from "../judge/taste.ts";
import { ImageReward } from "../scorers/image-reward.ts";
import { openPlace } from "../scorers/open.ts";
import type { ExampleSource } from "../train/examples.ts";
import { type ReflOptions, type ReflResult, trainRefl } from "../train/refl.ts";
import { checkPrecision, type Precision } from "../train/session.ts";
import { objectiveOf } from "./base.ts";
import { resumeFrom, savesIn } from "./checkpoints.ts";
import type { JobContext } from "./context.ts";
import { trainingGrids } from "./grids.ts";
import { openModel } from "./open-model.ts";
import { withSampler } from "./sampler.ts";
import { inStage } from "./stage.ts";
import { promptSubject, type TuningSubject, taskSubject } from "./subject.ts";
import { cutTexts, unknownWords } from "./words.ts";

/** The tuned arm and its control, which is the same run with λ = 0. */
export type ReflArm = "refl" | "control";

/** Of a config, what tuning an arm takes. */
export type ArmConfig = ReflTrainingConfig & {
  readonly precision?: Precision;
  readonly seed: number;
  readonly samplerSteps: number;
  readonly guidance: number;
  readonly gradientAccumulationSteps?: number;
  readonly adamBeta1?: number;
  readonly adamBeta2?: number;
  readonly adamEpsilon?: number;
};

export interface ArmOptions extends Pick<ReflOptions, "size" | "eager" | "samples" | "observer" | "signal"> {
  readonly arm: ReflArm;
  readonly subject: TuningSubject;
  readonly config: ArmConfig;
  readonly pipeline: TextToImagePipeline;
  readonly scorer: ImageReward;
  readonly resume?: NonNullable<ReflOptions["resume"]> | undefined;
  readonly save?: NonNullable<ReflOptions["save"]> | undefined;
}

/** Tunes one arm on a subject's prompts and pictures; its looks decide when to stop, if the config wants that. */
export async function* tuneArm({
  arm,
  subject,
  config,
  pipeline,
  scorer,
  resume,
  save,
  ...options
}: ArmOptions): Run<ReflResult> {
  const { earlyStop, adamBeta1 = 0.9, adamBeta2 = 0.999, adamEpsilon = 1e-8 } = config;
  const { prompt, examples, look } = subject;
  if (earlyStop && !look)
    throw new DataError("train refl", 0, "earlyStop", "needs a task's judge to look; with own prompts set it to null");
  const validation = earlyStop &&
    look && {
      every: earlyStop.everySteps,
      patience: earlyStop.patience,
      look: () => look(pipeline, scorer, config),
    };
  return yield* trainRefl({
    ...config,
    ...options,
    ...{ pipeline, scorer, prompt, examples, validation },
    betas: [adamBeta1, adamBeta2],
    epsilon: adamEpsilon,
    emaDecay: config.ema?.decay ?? null,
    objective: objectiveOf(config),
    accumulation: config.gradientAccumulationSteps ?? 1,
    lambda: arm === "refl" ? config.lambda : 0,
    pretrainingBatchSize: config.variant === "paper" ? config.pretrainingBatchSize : 0,
    stage: arm,
    ...(resume ? { resume } : {}),
    ...(save ? { save } : {}),
  });
}

export interface TrainReflOptions {
  /** Pictures for the pre-training loss instead of the task's own, brought to `size` x `size` pixels. */
  readonly examples?: (size: number) => ExampleSource;
  /** The prompts of the config's file. */
  readonly prompts?: readonly string[];
  /** Goes on from the latest checkpoint of the run's place. */
  readonly resume?: boolean;
}

/**
 * UNets with more weights run op by op. Capture saves the host's 2 µs of each kernel, which is nothing to kernels of that size; and a sampler of 40 steps has ten
 * graded steps of 80,000 kernels, each a plan of its own.
 */
const LARGE = 1e8;

/**
 * Tunes as the config says and leaves the tuned model, and the control's, in the run's place. The reward's arm saves its state as it goes and
 * resumes; the control, which draws nothing and is quick, is made anew.
 * @throws DataError for values that do not fit the model; CheckpointError when files are missing, damaged or do not fit
 */
export async function* runTrainRefl(
  config: TrainReflConfig,
  context: JobContext,
  options: TrainReflOptions = {},
): Run<Partial<Record<ReflArm, ReflResult>>> {
  const { device, sink, signal, observer } = context;
  checkPrecision(device, config.precision);
  const scorer = await openReward(config, context);
  const results: Partial<Record<ReflArm, ReflResult>> = {};
  try {
    for (const arm of config.control ? (["refl", "control"] as const) : (["refl"] as const)) {
      // Its own scheduler is saved with it, whatever sampler tunes it.
      const opened = await openModel({ ...config, lora: config.modelLora }, context);
      try {
        const pipeline = withSampler(opened, config.sampler, { stepsOffset: config.stepsOffset });
        const size = pictureSize(config, pipeline);
        const subject = subjectOf(config, size, options);
        if (arm === "refl") yield* warnings(pipeline, scorer, subject, options.prompts ?? []);
        for (const model of [pipeline.unet, pipeline.codec.model, scorer.model])
          model?.enableGradientCheckpointing(config.gradientCheckpointing);
        const saved =
          arm === "refl" && sink
            ? {
                ...(options.resume ? await resumeFrom(sink) : {}),
                save: savesIn(sink, config.saveEvery, (folder) => opened.save(folder)),
              }
            : {};
        const message = arm === "refl" ? subject.name : "same data and steps, no reward";
        const gridPrompts = config.validationPrompts.length ? config.validationPrompts : subject.gridPrompts;
        const armOptions: ArmOptions = {
          ...{ arm, subject, config, pipeline, scorer, size, ...saved },
          eager: pipeline.unet.parameterCount() > LARGE,
          samples: trainingGrids(gridPrompts, pipeline, { ...config, size }),
          ...(observer ? { observer } : {}),
          ...(signal ? { signal } : {}),
        };
        results[arm] = yield* inStage(arm, message, {}, device, () => tuneArm(armOptions));
        if (signal?.aborted) break;
        // The control's model becomes a folder beside the checkpoints.
        if (sink && arm === "control") await sink.writeFolder("control", (folder) => opened.save(folder));
      } finally {
        opened.dispose();
      }
    }
  } finally {
    scorer.dispose();
  }
  yield { type: "result", summary: results };
  return results;
}

/** The reward model that the config names, narrow where training is: it is neither trained nor saved. */
async function openReward(config: TrainReflConfig, context: JobContext): Promise<ImageReward> {
  const { reward, rewardTokenizer, precision } = config;
  const place = await openPlace(reward, context);
  const tokenizer = rewardTokenizer === undefined ? {} : { tokenizer: await openPlace(rewardTokenizer, context) };
  const scorer = await ImageReward.load(place, context.device, tokenizer);
  if (precision === "f16") scorer.model.narrow();
  return scorer;
}

/** Height and width of the pictures in pixels. @throws DataError for a size that the model cannot draw */
function pictureSize(
  { resolution }: TrainReflConfig,
  pipeline: TextToImagePipeline,
): readonly [height: number, width: number] {
  if (resolution === undefined) return pipeline.defaultSize;
  const unit = pipeline.sizeUnit;
  if (resolution % unit === 0) return [resolution, resolution];
  throw new DataError("train refl", 0, "resolution", `${resolution} pixels; the model draws multiples of ${unit}`);
}

/** What is tuned on. @throws DataError when prompts, pictures and the model do not fit each other */
function subjectOf(
  config: TrainReflConfig,
  [height, width]: readonly [height: number, width: number],
  { prompts, examples: open }: TrainReflOptions,
): TuningSubject {
  const fail = (field: string, message: string): never => {
    throw new DataError("train refl", 0, field, message);
  };
  if (open && height !== width)
    fail("resolution", `${height} x ${width} pixels; own pictures are square: give a resolution`);
  const examples = open?.(height) ?? null;
  if (config.prompts !== undefined) {
    const { variant, pretrainingWeight } = config;
    if (variant === "paper" && pretrainingWeight > 0 && !examples)
      fail("data", "missing: the variant `paper` also learns from captioned pictures; `repository` needs none");
    return promptSubject(config.prompts, prompts ?? [], examples);
  }
  const task = taskNamed(config.task);
  if (height !== task.size || width !== task.size) {
    const drawn = `the model draws ${height} x ${width} pixels, pictures of ${task.name} have ${task.size}`;
    fail("prompts", `missing: ${drawn}, so its prompts and its judge do not fit`);
  }
  return taskSubject(task, tasteNamed(config.taste, task), config.seed, examples ?? undefined);
}

/** Of texts that a model reads as something else. */
function* warnings(
  pipeline: TextToImagePipeline,
  scorer: ImageReward,
  { examples }: TuningSubject,
  prompts: readonly string[],
) {
  const captions = [...prompts, ...(examples?.captions ?? [])];
  yield* unknownWords(pipeline.tokenizer, captions, "the model reads them all as the same word");
  yield* cutTexts(pipeline.tokenizer, captions);
  yield* cutTexts(scorer.tokenizer, prompts);
}
