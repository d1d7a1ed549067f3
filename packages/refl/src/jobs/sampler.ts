/** Pipelines with the sampler that a config names in the place of the folder's own scheduler. */
import {
  DDIMScheduler,
  DDPMScheduler,
  type LatentCodec,
  type ModelFolder,
  PNDMScheduler,
  type Scheduler,
  TextToImagePipeline,
} from "@refl/models";
import { CheckpointError, type Device } from "@refl/tensor";
import type { PICTURE_SAMPLERS } from "../config/sample.ts";

/** The name of a sampler. */
export type SamplerName = (typeof PICTURE_SAMPLERS)[number];

/** What configs and records call a scheduler. */
export function samplerName(scheduler: Scheduler): SamplerName {
  if (scheduler instanceof PNDMScheduler) return "pndm";
  return scheduler instanceof DDIMScheduler ? "ddim" : "ddpm";
}

function schedulerNamed(sampler: SamplerName, config: unknown): Scheduler {
  switch (sampler) {
    case "ddim":
      return new DDIMScheduler(config);
    case "ddpm":
      return new DDPMScheduler(config);
    case "pndm":
      return new PNDMScheduler(config);
  }
}

/** What a pipeline under another sampler has of its own. */
export interface SamplerOptions {
  /** Default the pipeline's. */
  readonly codec?: LatentCodec;
  /** Instead of the scheduler's own `steps_offset`. */
  readonly stepsOffset?: number | undefined;
}

/** The same models under the sampler, which keeps the scheduler's noise levels, spacing and prediction type, and another codec if one is given. */
export function withSampler(
  pipeline: TextToImagePipeline,
  sampler: SamplerName,
  { codec = pipeline.codec, stepsOffset }: SamplerOptions = {},
): TextToImagePipeline {
  const { device, tokenizer, textEncoder, unet } = pipeline;
  // Each reads the fields that both have and leaves the other's own alone.
  const same = samplerName(pipeline.scheduler) === sampler && stepsOffset === undefined;
  const config = pipeline.scheduler.toConfig();
  const scheduler = same
    ? pipeline.scheduler
    : schedulerNamed(sampler, stepsOffset === undefined ? config : { ...config, steps_offset: stepsOffset });
  return new TextToImagePipeline(device, { tokenizer, textEncoder, unet, codec, scheduler });
}

/**
 * The pipeline of a model folder, under the sampler, by default its own. Throws `CheckpointError`, also when the folder holds another kind of model.
 */
export async function loadPipeline(
  folder: ModelFolder,
  device: Device,
  sampler?: SamplerName,
): Promise<TextToImagePipeline> {
  if (!(await folder.exists("model_index.json")))
    throw new CheckpointError(
      folder.name,
      "holds no text-to-image model: expected a diffusers folder with model_index.json",
    );
  const pipeline = await TextToImagePipeline.fromFolder(folder, device);
  return sampler === undefined ? pipeline : withSampler(pipeline, sampler);
}
