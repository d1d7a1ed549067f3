/** Stable Diffusion 1 from one file (`.ckpt`, `.safetensors`) with latent-diffusion's names, as diffusers' `from_single_file` opens it. */
import type { Device } from "@refl/tensor";
import type { Checkpoint } from "../formats/checkpoint.ts";
import type { ModelFolder } from "../formats/folder.ts";
import { splitLdmCheckpoint } from "../formats/ldm.ts";
import { AutoencoderKL } from "../models/autoencoder-kl.ts";
import { SD1_VAE_CONFIG } from "../models/autoencoder-kl-config.ts";
import { CLIPTextModel } from "../models/clip-text.ts";
import { SD1_TEXT_CONFIG } from "../models/clip-text-config.ts";
import type { ConfiguredModel } from "../models/folder.ts";
import { UNet2DConditionModel } from "../models/unet.ts";
import { SD1_UNET_CONFIG } from "../models/unet-config.ts";
import { PNDMScheduler } from "../schedulers/pndm.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { AutoencoderCodec } from "./latent-codec.ts";
import { readScheduler } from "./read-scheduler.ts";
import { TextToImagePipeline } from "./text-to-image.ts";

/** Stable Diffusion 1's scheduler, as its folders have it. */
export const SD1_SCHEDULER_CONFIG = {
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  steps_offset: 1,
  set_alpha_to_one: false,
  skip_prk_steps: true,
  clip_sample: false,
} as const;

export interface SingleFileOptions {
  /** Such files have none: CLIP's, padded with its end token. */
  readonly tokenizer: Tokenizer;
  /** A diffusers folder whose configs say the sizes; its weights are not looked at. Default: Stable Diffusion 1's own. */
  readonly config?: ModelFolder;
  /** Take the UNet's averaged weights. Default false. */
  readonly ema?: boolean;
}

/**
 * The pipeline of a Stable Diffusion 1 file. The checkpoint stays open and the caller's.
 * @throws CheckpointError when it is none, or holds tensors that are missing, left over or of other shapes; DataError for a wrong config
 */
export async function pipelineFromSingleFile(
  checkpoint: Checkpoint,
  device: Device,
  { tokenizer, config, ema = false }: SingleFileOptions,
): Promise<TextToImagePipeline> {
  const read = async (path: string, own: object): Promise<[config: unknown, file: string]> =>
    config ? [await config.readJson(path), `${config.name}/${path}`] : [own, checkpoint.name];
  const [unet, textEncoder, vae] = [
    new UNet2DConditionModel(...(await read("unet/config.json", SD1_UNET_CONFIG))),
    new CLIPTextModel(...(await read("text_encoder/config.json", SD1_TEXT_CONFIG))),
    new AutoencoderKL(...(await read("vae/config.json", SD1_VAE_CONFIG))),
  ];
  const scheduler = config ? await readScheduler(config) : new PNDMScheduler(SD1_SCHEDULER_CONFIG);
  const { layers_per_block: layers } = unet.config;
  const layersPerBlock = typeof layers === "number" ? layers : layers[0]!;
  const parts = splitLdmCheckpoint(checkpoint, { ema, layersPerBlock });
  const loads: readonly (readonly [ConfiguredModel, Checkpoint])[] = [
    [vae, parts.vae],
    [textEncoder, parts.textEncoder],
    [unet, parts.unet],
  ];
  try {
    for (const [model, weights] of loads) {
      await model.load(weights, { device });
      model.eval();
    }
    return new TextToImagePipeline(device, {
      tokenizer,
      textEncoder,
      unet,
      scheduler,
      codec: new AutoencoderCodec(vae),
    });
  } catch (error) {
    for (const [model] of loads) model.dispose();
    throw error;
  }
}
