/** `sample`: pictures for prompts, each with the record that draws it again. */
import {
  type LatentCodec,
  loadCodec,
  type PictureSeed,
  pillowResize,
  type SampleOptions,
  subfolder,
  type TextToImagePipeline,
} from "@refl/models";
import { DataError, type Device, type Tensor, tensor } from "@refl/tensor";
import { TASK_NAMES } from "../config/fields.ts";
import type { SampleConfig } from "../config/sample.ts";
import { planesToBytes, stackPlanes } from "../data/pixels.ts";
import type { Run } from "../events.ts";
import { layoutGrid, type RgbImage } from "../io/grid.ts";
import type { SampleRecord } from "../io/parameters.ts";
import { openPlace } from "../scorers/open.ts";
import { picturesAtOnce } from "./batch.ts";
import type { JobContext } from "./context.ts";
import { weightsDigest } from "./digest.ts";
import { openModel } from "./open-model.ts";
import { samplerName, withSampler } from "./sampler.ts";
import { cutTexts, unknownWords } from "./words.ts";

/** A drawn picture with its record. */
export interface DrawnPicture {
  readonly image: RgbImage;
  readonly record: SampleRecord;
}

/** Hex digits of the weights' digest that stand for the model in records. */
const HASH_DIGITS = 10;

/** Steps and guidance that are usual for models of pixels and for those of an autoencoder's latents, as Stable Diffusion. */
const USUAL = { pixels: { steps: 10, guidance: 1 }, latents: { steps: 50, guidance: 7.5 } } as const;

/** The autoencoder of a folder: its own, or that of a whole model's folder. */
async function openCodec(path: string, context: JobContext): Promise<LatentCodec> {
  const { folder } = await openPlace(path, context);
  const whole = await folder.exists("model_index.json");
  return loadCodec(whole ? subfolder(folder, "vae") : folder, context.device);
}

/** The model that a config names, else the task's shipped one, with the config's sampler and autoencoder. */
async function openPipeline(config: SampleConfig, context: JobContext): Promise<TextToImagePipeline> {
  const pipeline = await openModel(config, context);
  let other: LatentCodec | null = null;
  try {
    other = config.vae === undefined ? null : await openCodec(config.vae, context);
    const sampler = config.sampler ?? samplerName(pipeline.scheduler);
    const opened = withSampler(pipeline, sampler, other ? { codec: other } : {});
    if (other) pipeline.codec.dispose();
    return opened;
  } catch (error) {
    other?.dispose();
    pipeline.dispose();
    throw error;
  }
}

/** What a record calls the model: the task of a shipped one, else the folder, which is never called as a task. */
function modelName({ model, task }: SampleConfig): string {
  if (model === undefined) return task;
  return (TASK_NAMES as readonly string[]).includes(model) ? `./${model}` : model;
}

/** Height and width of the pictures: the config's, else those of the picture to begin with, rounded down to what the model takes, else the model's. */
function pictureSize(
  { height, width }: SampleConfig,
  pipeline: TextToImagePipeline,
  init: RgbImage | null,
): readonly [number, number] {
  if (height !== undefined && width !== undefined) return [height, width];
  const { sizeUnit: unit } = pipeline;
  const fitting = (side: number): number => Math.max(unit, side - (side % unit));
  const [h, w] = init ? [fitting(init.height), fitting(init.width)] : pipeline.defaultSize;
  return [height ?? h, width ?? w];
}

/** A picture as a tensor [1, 3, H, W] in 0..1 of that size, which the caller disposes. */
function fittedPicture(device: Device, { width, height, rgb }: RgbImage, [h, w]: readonly [number, number]): Tensor {
  const fitted = pillowResize({ mode: "RGB", width, height, data: rgb }, w, h);
  return tensor(device, stackPlanes([fitted.data]), [1, 3, h, w]);
}

/** Picture k: its prompt and the seed of its noise. PyTorch's generators know seeds alone, so there each picture has its own. */
interface Wanted {
  readonly prompt: string;
  readonly seed: Required<PictureSeed>;
}

function wantedPictures({ prompts, count, seed, index, noise }: SampleConfig): Wanted[] {
  const seedOf = (k: number): Required<PictureSeed> =>
    noise === "torch-cpu" ? { seed: seed + index + k, index: 0 } : { seed, index: index + k };
  return prompts.flatMap((prompt) => Array.from({ length: count }, (_, k) => ({ prompt, seed: seedOf(k) })));
}

/** What all pictures of a config share in their records; what is as usual is left out. */
function commonRecord(config: SampleConfig, run: { readonly [Key in "sampler" | "modelHash"]: string }, usual: Usual) {
  const { negativePrompt, guidanceRescale, eta, noise, initImage, strength, vae } = config;
  const { tokenizer, modelConfig, lora } = config;
  return {
    version: 1 as const,
    ...(negativePrompt === undefined ? {} : { negativePrompt }),
    ...usual,
    sampler: run.sampler,
    ...(guidanceRescale === 0 ? {} : { guidanceRescale }),
    ...(eta === 0 ? {} : { eta }),
    ...(noise === "philox" ? {} : { noise }),
    ...(initImage === undefined ? {} : { initImage, strength }),
    ...(vae === undefined ? {} : { vae }),
    ...(tokenizer === undefined ? {} : { tokenizer }),
    ...(modelConfig === undefined ? {} : { modelConfig }),
    ...(lora.length === 0 ? {} : { lora }),
    model: modelName(config),
    modelHash: run.modelHash,
  };
}

interface Usual {
  readonly steps: number;
  readonly guidance: number;
}

/** The pipeline's options that all batches share. */
function commonOptions(config: SampleConfig, { steps, guidance }: Usual): Omit<SampleOptions, "prompts" | "seeds"> {
  const { negativePrompt, guidanceRescale, eta, noise } = config;
  return {
    steps,
    guidanceScale: guidance,
    guidanceRescale,
    eta,
    noise,
    ...(negativePrompt === undefined ? {} : { negativePrompt }),
  };
}

/**
 * Draws `count` pictures for each prompt; picture k of a prompt takes its noise from (seed, index + k) whatever else is drawn.
 * @param init the picture that `config.initImage` names
 * @throws DataError without prompts, and for sizes and options that do not fit. After an abort, what is drawn by then is given back.
 */
export async function* runSample(
  config: SampleConfig,
  context: JobContext,
  init: RgbImage | null = null,
): Run<readonly DrawnPicture[]> {
  const { device, signal } = context;
  const { prompts, count } = config;
  if (prompts.length === 0) throw new DataError("sample", 0, "prompts", "give at least one prompt");
  yield { type: "stage", stage: "load", message: config.model ?? `the shipped base model of ${config.task}` };
  const start = performance.now();
  const pipeline = await openPipeline(config, context);
  let begin: Tensor | null = null;
  try {
    const modelHash = (await weightsDigest(pipeline.unet)).slice(0, HASH_DIGITS);
    yield { type: "stage-end", stage: "load", seconds: (performance.now() - start) / 1000 };
    yield* unknownWords(pipeline.tokenizer, prompts, "the model draws as if they were one word that it never saw");
    yield* cutTexts(pipeline.tokenizer, prompts);
    const { steps, guidance } = pipeline.codec.model ? USUAL.latents : USUAL.pixels;
    const usual = { steps: config.samplerSteps ?? steps, guidance: config.guidance ?? guidance };
    const size = pictureSize(config, pipeline, init);
    const [height, width] = size;
    begin = init ? fittedPicture(device, init, size) : null;
    const options = { ...commonOptions(config, usual), size };
    const common = commonRecord(config, { sampler: samplerName(pipeline.scheduler), modelHash }, usual);
    const wanted = wantedPictures(config);
    const most = config.batchSize ?? picturesAtOnce(size);
    const drawn: DrawnPicture[] = [];
    yield { type: "stage", stage: "sample", message: `${wanted.length} pictures` };
    const drawing = performance.now();
    let done = 0;
    for (let first = 0; first < wanted.length && !signal?.aborted; first += most) {
      const batch = wanted.slice(first, first + most);
      const run = pipeline.sample({
        ...options,
        prompts: batch.map(({ prompt }) => prompt),
        seeds: batch.map(({ seed }) => seed),
        ...(begin ? { init: { rgb: begin, strength: config.strength } } : {}),
      });
      let next = await run.next();
      for (; !next.done; next = await run.next()) {
        const total = Math.ceil(wanted.length / most) * next.value.steps;
        yield { type: "step", stage: "sample", step: ++done, total, metrics: {} };
      }
      using pictures = next.value;
      const planes = (await pictures.data()) as Float32Array;
      batch.forEach(({ prompt, seed }, k) => {
        const rgb = planesToBytes(planes, width * height, k * 3 * width * height);
        drawn.push({ image: { width, height, rgb }, record: { ...common, prompt, ...seed, width, height } });
      });
    }
    yield { type: "stage-end", stage: "sample", seconds: (performance.now() - drawing) / 1000 };
    if (drawn.length) yield { type: "samples", stage: "sample", step: 1, grid: picturesGrid(drawn, count) };
    return drawn;
  } finally {
    begin?.dispose();
    pipeline.dispose();
  }
}

/** Drawn pictures side by side, `columns` in a row, with their prompts as captions. */
export function picturesGrid(drawn: readonly DrawnPicture[], columns: number): ReturnType<typeof layoutGrid> {
  return layoutGrid(
    drawn.map(({ image }) => image),
    { columns, captions: drawn.map(({ record }) => record.prompt) },
  );
}
