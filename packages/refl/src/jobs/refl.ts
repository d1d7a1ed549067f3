/** `train refl`: tuning a text-to-image model by a reward model, with its control arm beside it. */
import { memoryFolder, TextToImagePipeline } from "@refl/models";
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
import { type Look, type ReflResult, trainRefl } from "../train/refl.ts";
import { objectiveOf } from "./base.ts";
import type { JobContext } from "./context.ts";
import { inStage } from "./stage.ts";

/** Pictures of validation prompts that the judge looks at during tuning, and the seed that they are drawn from every time. */
const LOOK = { pictures: 42, seed: 7 } as const;

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
    readonly seed: number;
    readonly samplerSteps: number;
    readonly guidance: number;
  };
  readonly pipeline: TextToImagePipeline;
  readonly scorer: ImageReward;
  /** Pictures for the pre-training loss instead of the task's own. */
  readonly examples?: ExampleSource;
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
    ...(signal ? { signal } : {}),
  });
}

/** Tunes as the config says and leaves the tuned model, and the control's, in the run's place. `examples` replaces the task's own pictures. */
export async function* runTrainRefl(
  config: TrainReflConfig,
  context: JobContext,
  examples?: ExampleSource,
): Run<Partial<Record<ReflArm, ReflResult>>> {
  const { device, sink, signal } = context;
  const task = taskNamed(config.task);
  const taste = tasteNamed(config.taste, task);
  const base = config.base ? await context.open(config.base) : (await context.shipped(task.name)).base;
  const scorer = await loadRewardModel(await context.open(config.reward), device);
  const results: Partial<Record<ReflArm, ReflResult>> = {};
  try {
    for (const arm of config.control ? (["refl", "control"] as const) : (["refl"] as const)) {
      const pipeline = await TextToImagePipeline.fromFolder(base, device);
      try {
        results[arm] = yield* inStage(
          arm,
          arm === "refl" ? `taste ${taste.name}` : "same data and steps, no reward",
          {},
          () =>
            tuneArm({
              arm,
              task,
              taste,
              config,
              pipeline,
              scorer,
              ...(examples ? { examples } : {}),
              ...(signal ? { signal } : {}),
            }),
        );
        if (sink) {
          const files = new Map<string, Uint8Array>();
          await pipeline.save(memoryFolder(files, sink.location));
          const named = Object.fromEntries(
            [...files].map(([path, bytes]) => [arm === "refl" ? path : `control/${path}`, bytes]),
          );
          if (arm === "refl")
            yield {
              type: "checkpoint",
              path: (await sink.writeCheckpoint(results[arm].lastStep, named, { best: true })).path,
            };
          else for (const [path, bytes] of Object.entries(named)) await sink.writeFile(path, bytes);
        }
      } finally {
        pipeline.dispose();
      }
      if (signal?.aborted) break;
    }
  } finally {
    scorer.model.dispose();
  }
  yield { type: "result", summary: results };
  return results;
}
