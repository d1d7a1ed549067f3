/** Pipelines with the sampler that a config names in the place of the folder's own scheduler. */
import { DDIMScheduler, DDPMScheduler, type ModelFolder, TextToImagePipeline } from "@refl/models";
import { CheckpointError, type Device } from "@refl/tensor";
import type { SAMPLERS } from "../config/fields.ts";

type SamplerName = (typeof SAMPLERS)[number];

/** The same models under the sampler; the scheduler's noise levels and prediction type stay. */
export function withSampler(pipeline: TextToImagePipeline, sampler: SamplerName): TextToImagePipeline {
  const { device, tokenizer, textEncoder, unet, codec } = pipeline;
  // Each reads the fields that both have and leaves the other's own alone.
  const config = pipeline.scheduler.toConfig();
  const scheduler = sampler === "ddim" ? new DDIMScheduler(config) : new DDPMScheduler(config);
  return new TextToImagePipeline(device, { tokenizer, textEncoder, unet, codec, scheduler });
}

/** The pipeline of a model folder, under the sampler. Throws `CheckpointError`, also when the folder holds another kind of model. */
export async function loadPipeline(
  folder: ModelFolder,
  device: Device,
  sampler: SamplerName,
): Promise<TextToImagePipeline> {
  if (!(await folder.exists("model_index.json")))
    throw new CheckpointError(
      folder.name,
      "holds no text-to-image model: expected a diffusers folder with model_index.json",
    );
  return withSampler(await TextToImagePipeline.fromFolder(folder, device), sampler);
}
