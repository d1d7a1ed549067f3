/** `train base`: from a config to a trained text-to-image model in the run's place. */
import type { TrainBaseConfig } from "../config/train-base.ts";
import { taskNamed } from "../data/tasks.ts";
import type { Run } from "../events.ts";
import { newPipeline } from "../models.ts";
import { trainBase } from "../train/base.ts";
import { type ExampleSource, taskExamples } from "../train/examples.ts";
import type { ObjectiveOptions } from "../train/objective.ts";
import { checkPrecision } from "../train/session.ts";
import { resumeFrom, savesIn } from "./checkpoints.ts";
import type { JobContext } from "./context.ts";
import { trainingGrids } from "./grids.ts";
import { withSampler } from "./sampler.ts";
import { inStage } from "./stage.ts";
import { taskGridPrompts } from "./subject.ts";
import { unknownWords } from "./words.ts";

/** The loss that a base config asks for. */
export function objectiveOf(
  config: Pick<TrainBaseConfig, "timestepShift" | "lossWeighting" | "minSnrGamma">,
): ObjectiveOptions {
  const { lossWeighting: kind, minSnrGamma: gamma } = config;
  return { timestepShift: config.timestepShift, weighting: kind === "min-snr" ? { kind, gamma } : { kind } };
}

/** What a base run left. */
export interface BaseSummary {
  readonly steps: number;
  readonly loss: number;
  readonly parameters: number;
}

/**
 * Trains as the config says; `examples` replaces the task's own pictures. With `resume` the run goes on from its latest checkpoint.
 * Each checkpoint is a diffusers folder (the moving average, f32) with the training state beside it.
 */
export async function* runTrainBase(
  config: TrainBaseConfig,
  context: JobContext,
  options: { readonly examples?: ExampleSource; readonly resume?: boolean } = {},
): Run<BaseSummary> {
  const { device, sink, signal, observer } = context;
  const task = taskNamed(config.task);
  checkPrecision(device, config.precision);
  const pipeline = withSampler(newPipeline(task, device, config.seed, config.predictionType), config.sampler);
  const resumed = options.resume ? await resumeFrom(sink) : {};
  try {
    const captions = options.examples?.captions ?? [];
    yield* unknownWords(pipeline.tokenizer, captions, "the model learns them all as the same word");
    const result = yield* inStage("base", `${config.steps} steps of ${config.batchSize} pictures`, {}, device, () =>
      trainBase({
        ...config,
        emaDecay: config.ema?.decay ?? null,
        pipeline,
        objective: objectiveOf(config),
        examples: options.examples ?? taskExamples(task),
        ...resumed,
        samples: trainingGrids(taskGridPrompts(task), pipeline, config),
        ...(sink ? { save: savesIn(sink, config.saveEvery, (folder) => pipeline.save(folder)) } : {}),
        ...(observer ? { observer } : {}),
        ...(signal ? { signal } : {}),
      }),
    );
    return { ...result, parameters: pipeline.unet.parameterCount() + pipeline.textEncoder.parameterCount() };
  } finally {
    pipeline.dispose();
  }
}
