/** What stands between pictures and a diffusion model's latents: an autoencoder with weights, or a rearrangement of pixels. */
import { DataError, type Device, type DType, type Tensor } from "@refl/tensor";
import type { ModelFolder } from "../formats/folder.ts";
import type { JsonObject } from "../formats/json.ts";
import { AutoencoderKL, autoencoderRename, sampleGaussian } from "../models/autoencoder-kl.ts";
import { AutoencoderTiny } from "../models/autoencoder-tiny.ts";
import { type ConfiguredModel, DIFFUSION_WEIGHTS, loadModel } from "../models/folder.ts";
import { PixelCodec } from "../models/pixel-codec.ts";

/** Classes of the `vae` component. */
export const CODEC_CLASSES = ["AutoencoderKL", "AutoencoderTiny", "PixelCodec"] as const;

export type CodecClass = (typeof CODEC_CLASSES)[number];

/** Pictures [B, 3, H, W] in [0, 1] to the diffusion model's latents [B, latentChannels, H/factor, W/factor] and back. */
export interface LatentCodec {
  readonly className: CodecClass;
  /** Fields of `vae/config.json`, and the side of the square of pixels that becomes one latent position. */
  readonly config: { readonly factor: number };
  readonly latentChannels: number;
  /** Whether a picture's latents are a distribution, from which `encode` draws when it is given noise. */
  readonly isVariational: boolean;
  /**
   * @param noise standard normal, of the latents' shape: a draw of a variational codec; without it the mean. Others pass over it
   * @throws ShapeError when the factor does not divide H and W
   */
  encode(rgb: Tensor, noise?: Tensor | null): Tensor;
  /** → rgb, clamped to [0, 1]; the gradient is 0 where the clamp acts. Throws ShapeError for another number of channels. */
  decode(latents: Tensor): Tensor;
  /** `vae/config.json`. */
  toConfig(): JsonObject;
  /** The model whose weights a folder keeps; `null` where there are none. */
  readonly model: ConfiguredModel | null;
  /** Gives the memory of all weights back. */
  dispose(): void;
}

/** An autoencoder as a pipeline has it: its latents times `scaling_factor` are the diffusion model's. */
export class AutoencoderCodec implements LatentCodec {
  readonly model: AutoencoderKL | AutoencoderTiny;
  readonly config: JsonObject & { readonly factor: number };

  constructor(model: AutoencoderKL | AutoencoderTiny) {
    this.model = model;
    this.config = { ...model.toConfig(), factor: model.factor };
  }

  get className(): "AutoencoderKL" | "AutoencoderTiny" {
    return this.model instanceof AutoencoderKL ? "AutoencoderKL" : "AutoencoderTiny";
  }

  get latentChannels(): number {
    return this.model.config.latent_channels;
  }

  get isVariational(): boolean {
    return this.model instanceof AutoencoderKL;
  }

  /** What the model computes in; pictures and latents keep theirs. */
  get #dtype(): DType {
    return this.model.parameters()[0]!.working.dtype;
  }

  toConfig(): JsonObject {
    return this.model.toConfig();
  }

  encode(rgb: Tensor, noise: Tensor | null = null): Tensor {
    const { model } = this;
    const image = rgb.mul(2).sub(1).to(this.#dtype);
    const { scaling_factor: scale } = model.config;
    if (model instanceof AutoencoderTiny) return model.encode(image).to(rgb.dtype).mul(scale);
    const { mean, logvar } = model.encode(image);
    const distribution = { mean: mean.to(rgb.dtype), logvar: logvar.to(rgb.dtype) };
    return (noise ? sampleGaussian(distribution, noise) : distribution.mean).mul(scale);
  }

  decode(latents: Tensor): Tensor {
    const own = latents.div(this.model.config.scaling_factor).to(this.#dtype);
    return this.model.decode(own).to(latents.dtype).mul(0.5).add(0.5).clamp(0, 1);
  }

  dispose(): void {
    this.model.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * The codec of a folder: of diffusers' autoencoders config and weights, of `PixelCodec` the config alone.
 * @param className as `model_index.json` says it; default what the config says
 * @throws CheckpointError for missing, damaged or unfitting weights; DataError for another class or a wrong config
 */
export async function loadCodec(folder: ModelFolder, device: Device, className?: string): Promise<LatentCodec> {
  const config = await folder.readJson("config.json");
  const file = `${folder.name}/config.json`;
  const name = className ?? config["_class_name"];
  const options = { weights: DIFFUSION_WEIGHTS };
  switch (name as CodecClass) {
    case "AutoencoderKL": {
      const make = (json: JsonObject, at: string) => new AutoencoderKL(json, at);
      return new AutoencoderCodec(await loadModel(make, folder, device, { ...options, rename: autoencoderRename }));
    }
    case "AutoencoderTiny": {
      const make = (json: JsonObject, at: string) => new AutoencoderTiny(json, at);
      return new AutoencoderCodec(await loadModel(make, folder, device, options));
    }
    case "PixelCodec":
      return new PixelCodec(config, file);
  }
  throw new DataError(
    file,
    0,
    "_class_name",
    `class ${String(name)} is not supported, only ${CODEC_CLASSES.join(", ")}`,
  );
}
