/** `sample`: pictures for prompts, each with the record that draws it again. */
import type { PictureSeed, TextToImagePipeline } from "@refl/models";
import { DataError } from "@refl/tensor";
import { TASK_NAMES } from "../config/fields.ts";
import type { SampleConfig } from "../config/sample.ts";
import type { Run } from "../events.ts";
import { layoutGrid, type RgbImage } from "../io/grid.ts";
import type { SampleRecord } from "../io/parameters.ts";
import type { JobContext } from "./context.ts";
import { weightsDigest } from "./digest.ts";
import { imageAt } from "./grids.ts";
import { loadPipeline } from "./sampler.ts";
import { cutTexts, unknownWords } from "./words.ts";

/** A drawn picture with its record. */
export interface DrawnPicture {
  readonly image: RgbImage;
  readonly record: SampleRecord;
}

/** Pictures drawn at once: a batch changes no pixel, only memory. */
const BATCH = 64;

/** Hex digits of the weights' digest that stand for the model in records. */
const HASH_DIGITS = 10;

/** The model that a config names, else the task's shipped one, with the config's sampler. */
export async function openPipeline(
  config: Pick<SampleConfig, "model" | "task" | "sampler">,
  { device, open, shipped }: JobContext,
): Promise<TextToImagePipeline> {
  const folder = config.model === undefined ? (await shipped(config.task)).base : await open(config.model);
  return loadPipeline(folder, device, config.sampler);
}

/** What a record calls the model: the task of a shipped one, else the folder, which is never called as a task. */
function modelName({ model, task }: SampleConfig): string {
  if (model === undefined) return task;
  return (TASK_NAMES as readonly string[]).includes(model) ? `./${model}` : model;
}

/**
 * Draws `count` pictures for each prompt; picture k of a prompt takes its noise from (seed, index + k) whatever else is drawn.
 * Throws `DataError` without prompts. After an abort, what is drawn by then is given back.
 */
export async function* runSample(config: SampleConfig, context: JobContext): Run<readonly DrawnPicture[]> {
  const { signal } = context;
  const { prompts, count, seed, samplerSteps, guidance, sampler, negativePrompt } = config;
  if (prompts.length === 0) throw new DataError("sample", 0, "prompts", "give at least one prompt");
  yield { type: "stage", stage: "load", message: config.model ?? `the shipped base model of ${config.task}` };
  const start = performance.now();
  const pipeline = await openPipeline(config, context);
  try {
    const hash = (await weightsDigest(pipeline.unet)).slice(0, HASH_DIGITS);
    yield { type: "stage-end", stage: "load", seconds: (performance.now() - start) / 1000 };
    yield* unknownWords(pipeline.tokenizer, prompts, "the model draws as if they were one word that it never saw");
    yield* cutTexts(pipeline.tokenizer, prompts);
    const wanted = prompts.flatMap((prompt) =>
      Array.from({ length: count }, (_, k) => ({ prompt, seed: { seed, index: config.index + k } })),
    );
    const drawn: DrawnPicture[] = [];
    const [height, width] = pipeline.defaultSize;
    const total = Math.ceil(wanted.length / BATCH) * samplerSteps;
    yield { type: "stage", stage: "sample", message: `${wanted.length} pictures` };
    const drawing = performance.now();
    let done = 0;
    for (let first = 0; first < wanted.length && !signal?.aborted; first += BATCH) {
      const batch = wanted.slice(first, first + BATCH);
      const run = pipeline.sample({
        prompts: batch.map(({ prompt }) => prompt),
        seeds: batch.map((one): PictureSeed => one.seed),
        steps: samplerSteps,
        guidanceScale: guidance,
        ...(negativePrompt === undefined ? {} : { negativePrompt }),
      });
      let next = await run.next();
      for (; !next.done; next = await run.next())
        yield { type: "step", stage: "sample", step: ++done, total, metrics: {} };
      using pictures = next.value;
      const rgb = (await pictures.data()) as Float32Array;
      batch.forEach(({ prompt, seed: { index } }, k) => {
        const record: SampleRecord = {
          version: 1,
          prompt,
          ...(negativePrompt === undefined ? {} : { negativePrompt }),
          steps: samplerSteps,
          sampler,
          guidance,
          seed,
          index,
          width,
          height,
          model: modelName(config),
          modelHash: hash,
        };
        drawn.push({ image: imageAt(rgb, k, width), record });
      });
    }
    yield { type: "stage-end", stage: "sample", seconds: (performance.now() - drawing) / 1000 };
    if (drawn.length) {
      const captions = drawn.map(({ record }) => record.prompt);
      const grid = layoutGrid(
        drawn.map(({ image }) => image),
        { columns: count, captions },
      );
      yield { type: "samples", stage: "sample", step: 1, grid };
    }
    return drawn;
  } finally {
    pipeline.dispose();
  }
}
