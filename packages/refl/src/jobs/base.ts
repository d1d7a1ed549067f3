/** `train base`: from a config to a trained text-to-image model in the run's place. */
import { memoryFolder } from "@refl/models";
import type { TrainBaseConfig } from "../config/train-base.ts";
import { taskNamed } from "../data/tasks.ts";
import type { Run } from "../events.ts";
import { newPipeline } from "../models.ts";
import type { CheckpointFiles } from "../run/sink.ts";
import { trainBase } from "../train/base.ts";
import { type ExampleSource, taskExamples } from "../train/examples.ts";
import type { ObjectiveOptions } from "../train/objective.ts";
import { checkPrecision, STATE_FILE } from "../train/session.ts";
import type { JobContext } from "./context.ts";
import { trainingGrids } from "./grids.ts";
import { withSampler } from "./sampler.ts";
import { inStage } from "./stage.ts";
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
  const checkpoint = options.resume ? await sink?.findLatestCheckpoint() : undefined;
  const state = checkpoint && (await sink!.readCheckpoint(checkpoint))[STATE_FILE];
  try {
    const captions = options.examples?.captions ?? [];
    yield* unknownWords(pipeline.tokenizer, captions, "the model learns them all as the same word");
    const result = yield* inStage("base", `${config.steps} steps of ${config.batchSize} pictures`, {}, device, () =>
      trainBase({
        ...config,
        emaDecay: config.ema.decay,
        pipeline,
        objective: objectiveOf(config),
        examples: options.examples ?? taskExamples(task),
        ...(state ? { resume: { state, name: checkpoint.path } } : {}),
        samples: trainingGrids(task, pipeline, config),
        ...(sink
          ? {
              save: {
                every: config.saveEvery,
                write: async (step: number, bytes: Uint8Array) => {
                  const files = new Map<string, Uint8Array>();
                  await pipeline.save(memoryFolder(files, sink.location));
                  return (
                    await sink.writeCheckpoint(step, {
                      ...Object.fromEntries(files),
                      [STATE_FILE]: bytes,
                    } satisfies CheckpointFiles)
                  ).path;
                },
              },
            }
          : {}),
        ...(observer ? { observer } : {}),
        ...(signal ? { signal } : {}),
      }),
    );
    return { ...result, parameters: pipeline.unet.parameterCount() + pipeline.textEncoder.parameterCount() };
  } finally {
    pipeline.dispose();
  }
}
