/** What stands in a pipeline where Stable Diffusion has its autoencoder, for models that draw pixels: a rearrangement without weights. */
import { pixelShuffle, pixelUnshuffle, ShapeError, type Tensor } from "@refl/tensor";
import * as v from "valibot";
import { parseConfig } from "../formats/config.ts";
import type { JsonObject } from "../formats/json.ts";
import { Module } from "../nn/module.ts";
import { count } from "./fields.ts";

const schema = v.strictObject({
  /** Side of the square of pixels that becomes one latent position. */
  factor: v.optional(count, 1),
});

export type PixelCodecConfig = v.InferOutput<typeof schema>;

/** Pictures [B, 3, H, W] in [0, 1] and latents [B, 3·factor², H/factor, W/factor] in [−1, 1], the same numbers twice. Calling it decodes. */
export class PixelCodec extends Module<[latents: Tensor], Tensor> {
  readonly className = "PixelCodec";
  readonly isVariational = false;
  /** It has no weights. */
  readonly model = null;
  readonly config: PixelCodecConfig;

  /** @throws DataError naming `file` and the field */
  constructor(config: unknown = {}, file = "vae/config.json") {
    super();
    this.config = parseConfig(schema, config, file);
  }

  get latentChannels(): number {
    return 3 * this.config.factor ** 2;
  }

  /** `vae/config.json`. */
  toConfig(): JsonObject {
    return { _class_name: "PixelCodec", ...this.config };
  }

  /** rgb: [B, 3, H, W] in [0, 1] → latents. Throws ShapeError when the factor does not divide H and W. */
  encode(rgb: Tensor): Tensor {
    return this.run(() => {
      const { factor } = this.config;
      if (rgb.rank !== 4 || rgb.shape[1] !== 3 || rgb.shape[2]! % factor || rgb.shape[3]! % factor) {
        throw new ShapeError(
          "PixelCodec.encode",
          [rgb.shape],
          `needs [B, 3, H, W] with H and W multiples of ${factor}`,
        );
      }
      const scaled = rgb.mul(2).sub(1);
      return factor === 1 ? scaled : pixelUnshuffle(scaled, factor);
    });
  }

  /** latents → rgb [B, 3, H, W], clamped to [0, 1]; the gradient is 0 where the clamp acts. Throws ShapeError for another number of channels. */
  decode(latents: Tensor): Tensor {
    return this.forward(latents);
  }

  protected override compute(latents: Tensor): Tensor {
    const { factor } = this.config;
    if (latents.rank !== 4 || latents.shape[1] !== this.latentChannels) {
      throw new ShapeError("PixelCodec.decode", [latents.shape], `needs [B, ${this.latentChannels}, H, W]`);
    }
    const pixels = factor === 1 ? latents : pixelShuffle(latents, factor);
    return pixels.mul(0.5).add(0.5).clamp(0, 1);
  }
}
