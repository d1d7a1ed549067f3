/** Training a text-to-image model on captioned pictures: the denoising loss, AdamW, a moving average, sample grids and resumable checkpoints. */
import type { ModelFolder, TextToImagePipeline, WritableModelFolder } from "@refl/models";
import type { CheckpointEvent, Run, SampleGrid } from "../events.ts";
import { type ExampleSource, exampleBatch } from "./examples.ts";
import { type DenoisingInputs, denoisingData, denoisingLoss, type ObjectiveOptions } from "./objective.ts";
import { observed, type TrainingObserver } from "./observer.ts";
import type { SaveOptions } from "./save.ts";
import { type LearningRate, learningRate } from "./schedule.ts";
import { type Precision, TrainingSession } from "./session.ts";

export interface BaseOptions extends LearningRate {
  /** The model; UNet and text encoder are trained together. */
  readonly pipeline: TextToImagePipeline;
  readonly examples: ExampleSource;
  readonly objective: ObjectiveOptions;
  /** Optimiser steps in total; a resumed run counts on up to it. */
  readonly steps: number;
  readonly batchSize: number;
  readonly weightDecay: number;
  readonly gradientClip: number;
  /** Null keeps the weights themselves. */
  readonly emaDecay: number | null;
  /** Default f32. */
  readonly precision?: Precision;
  readonly seed: number;
  /** A checkpoint of this run, to go on from. */
  readonly resume?: ModelFolder;
  /** Pictures of fixed prompts and seeds; called every `sampleEvery` steps with the moving average in place. */
  readonly samples?: { readonly every: number; readonly draw: () => Promise<SampleGrid> };
  /** Each checkpoint holds the state that resumes the run and the model, which is the moving average. */
  readonly save?: SaveOptions;
  readonly observer?: TrainingObserver;
  readonly signal?: AbortSignal;
}

/** Trains until `steps` are done or `signal` is set (the step in hand is finished and saved), and leaves the moving average in the weights. */
export async function* trainBase(options: BaseOptions): Run<{ readonly steps: number; readonly loss: number }> {
  const { pipeline, examples, steps, batchSize, seed, signal, samples, save, observer } = options;
  const named = [
    ...[...pipeline.unet.namedParameters()].map(([name, t]) => [`unet.${name}`, t] as const),
    ...[...pipeline.textEncoder.namedParameters()].map(([name, t]) => [`text_encoder.${name}`, t] as const),
  ];
  const models = { unet: pipeline.unet, text_encoder: pipeline.textEncoder };
  const session = new TrainingSession(pipeline.device, named, options, models);
  const training = session.prepare("base training step", (inputs: DenoisingInputs) => {
    const value = denoisingLoss(pipeline, inputs);
    session.backward(value);
    return { loss: value };
  });
  let loss = Number.NaN;
  let savedAt = -1;
  try {
    if (options.resume) {
      await session.load(options.resume);
      savedAt = session.step;
    }
    while (session.step < steps && !signal?.aborted) {
      const metrics = await observed(observer, "step", async () => {
        const first = session.step * batchSize;
        const batch = await exampleBatch(examples, seed, first, batchSize);
        const data = denoisingData(pipeline, { ...batch, first }, seed, options.objective);
        return training.advance(learningRate(options, session.step + 1, steps), data, null);
      });
      loss = metrics["loss"] ?? loss;
      const { step } = session;
      yield { type: "step", stage: "base", step, total: steps, metrics };
      if (samples && (step % samples.every === 0 || step === steps)) {
        const grid = await observed(observer, "grid", () => session.withAverage(samples.draw));
        yield { type: "samples", stage: "base", step, grid };
      }
      if (save && step % save.every === 0) {
        yield await checkpointed(session, save, observer);
        savedAt = step;
      }
    }
    if (save && savedAt !== session.step) yield await checkpointed(session, save, observer);
    session.keepAverage();
    return { steps: session.step, loss };
  } finally {
    session.dispose();
  }
}

async function checkpointed(
  session: TrainingSession,
  { checkpoint, model }: SaveOptions,
  observer: TrainingObserver | undefined,
): Promise<CheckpointEvent> {
  const write = async (folder: WritableModelFolder): Promise<void> => {
    await session.save(folder);
    await session.withAverage(() => model(folder));
  };
  const path = await observed(observer, "checkpoint", () => checkpoint(session.step, write, false));
  return { type: "checkpoint", path };
}
