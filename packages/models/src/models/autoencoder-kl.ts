/** Stable Diffusion's autoencoder (Rombach et al. 2022, arXiv 2112.10752; Kingma & Welling 2013, arXiv 1312.6114) under diffusers' names. */
import { ShapeError, type Tensor } from "@refl/tensor";
import type { JsonObject } from "../formats/json.ts";
import { Conv2d } from "../nn/conv.ts";
import { Module } from "../nn/module.ts";
import { GroupNorm } from "../nn/norm.ts";
import { inParts, inRecomputedParts } from "../nn/parts.ts";
import { type AutoencoderKLConfig, parseAutoencoderKLConfig } from "./autoencoder-kl-config.ts";
import { convBands, fitBands, joinBands, normBands, SHARE } from "./bands.ts";
import { AutoencoderMidBlock2D, DownEncoderBlock2D, UpDecoderBlock2D, VAE_EPS } from "./vae-blocks.ts";

/** What a picture's latents are drawn from: N(mean, exp(logvar)) at each position, both [B, latent_channels, H/f, W/f]. */
export interface DiagonalGaussian {
  readonly mean: Tensor;
  /** Clamped to [−30, 20]. */
  readonly logvar: Tensor;
}

/** image: [B, in_channels, H, W] → [B, 2 · latent_channels, H/f, W/f]. */
export class AutoencoderEncoder extends Module<[image: Tensor], Tensor> {
  readonly conv_in: Conv2d;
  readonly down_blocks: readonly DownEncoderBlock2D[];
  readonly mid_block: AutoencoderMidBlock2D;
  readonly conv_norm_out: GroupNorm;
  readonly conv_out: Conv2d;

  constructor(config: AutoencoderKLConfig) {
    super();
    const { block_out_channels: channels, layers_per_block: layers, norm_num_groups: groups } = config;
    const last = channels.at(-1)!;
    this.conv_in = new Conv2d(config.in_channels, channels[0]!, 3, { padding: 1 });
    this.down_blocks = channels.map(
      (out, i) => new DownEncoderBlock2D(channels[Math.max(i - 1, 0)]!, out, layers, groups, i < channels.length - 1),
    );
    this.mid_block = new AutoencoderMidBlock2D(last, groups, config.mid_block_add_attention);
    this.conv_norm_out = new GroupNorm(groups, last, VAE_EPS);
    this.conv_out = new Conv2d(last, 2 * config.latent_channels, 3, { padding: 1 });
  }

  protected override compute(image: Tensor): Tensor {
    const downs = this.down_blocks.length - 1;
    // A block's input has half the rows of the one before and at most twice its channels, so the first blocks need the most.
    const widest = this.down_blocks.map((block, i) => block.resnets[0]!.conv1.weight.shape[0]! / 4 ** i);
    let hidden = convBands(this.conv_in, fitBands([image], Math.ceil(Math.max(...widest)), 1, 2 ** downs));
    for (const block of this.down_blocks) hidden = block.forward(hidden);
    const middle = this.mid_block.forward(joinBands(hidden));
    return this.conv_out.forward(this.conv_norm_out.forward(middle, "silu"));
  }
}

/** latents: [B, latent_channels, h, w] → [B, out_channels, f·h, f·w]. */
export class AutoencoderDecoder extends Module<[latents: Tensor], Tensor> {
  readonly conv_in: Conv2d;
  readonly up_blocks: readonly UpDecoderBlock2D[];
  readonly mid_block: AutoencoderMidBlock2D;
  readonly conv_norm_out: GroupNorm;
  readonly conv_out: Conv2d;

  constructor(config: AutoencoderKLConfig) {
    super();
    const { layers_per_block: layers, norm_num_groups: groups } = config;
    const channels = config.block_out_channels.toReversed();
    const [first, last] = [channels[0]!, channels.at(-1)!];
    this.conv_in = new Conv2d(config.latent_channels, first, 3, { padding: 1 });
    this.up_blocks = channels.map(
      (out, i) => new UpDecoderBlock2D(channels[Math.max(i - 1, 0)]!, out, layers + 1, groups, i < channels.length - 1),
    );
    this.mid_block = new AutoencoderMidBlock2D(first, groups, config.mid_block_add_attention);
    this.conv_norm_out = new GroupNorm(groups, last, VAE_EPS);
    this.conv_out = new Conv2d(last, config.out_channels, 3, { padding: 1 });
  }

  protected override compute(latents: Tensor): Tensor {
    let hidden = fitBands([this.mid_block.forward(this.conv_in.forward(latents))], this.conv_in.weight.shape[0]!);
    for (const block of this.up_blocks) hidden = block.forward(hidden);
    return joinBands(convBands(this.conv_out, normBands(this.conv_norm_out, hidden, "silu")));
  }
}

/**
 * Pictures in [−1, 1] to latents and back, f = 2^(blocks − 1) times smaller on each side. Latents here are the autoencoder's own: a diffusion model's are
 * these times `config.scaling_factor`. Pictures of any size and number work: batches beyond the largest binding of the device are worked off in parts, and
 * a single picture beyond it in bands of rows, exactly. Calling it decodes.
 */
export class AutoencoderKL extends Module<[latents: Tensor], Tensor> {
  readonly config: AutoencoderKLConfig;
  readonly encoder: AutoencoderEncoder;
  readonly decoder: AutoencoderDecoder;
  readonly quant_conv: Conv2d | null;
  readonly post_quant_conv: Conv2d | null;

  /**
   * @param config fields of `vae/config.json`; those left out take diffusers' defaults
   * @throws DataError naming `file` and the field
   */
  constructor(config: unknown = {}, file = "vae/config.json") {
    super();
    const parsed = parseAutoencoderKLConfig(config, file);
    const { latent_channels: latent } = parsed;
    this.config = parsed;
    this.encoder = new AutoencoderEncoder(parsed);
    this.decoder = new AutoencoderDecoder(parsed);
    this.quant_conv = parsed.use_quant_conv ? new Conv2d(2 * latent, 2 * latent, 1) : null;
    this.post_quant_conv = parsed.use_post_quant_conv ? new Conv2d(latent, latent, 1) : null;
  }

  /** Pixels on a side of the square that becomes one latent position. */
  get factor(): number {
    return 2 ** (this.config.block_out_channels.length - 1);
  }

  /** `vae/config.json` as diffusers reads it. */
  toConfig(): JsonObject {
    return { _class_name: "AutoencoderKL", ...this.config };
  }

  /** image: [B, in_channels, H, W] in [−1, 1]. Throws ShapeError when H and W are not multiples of {@link factor}. */
  encode(image: Tensor): DiagonalGaussian {
    return this.run(() => {
      const { in_channels: channels } = this.config;
      const [, given, height, width] = image.shape;
      if (image.rank !== 4 || given !== channels || height! % this.factor || width! % this.factor) {
        const text = `needs [B, ${channels}, H, W] with H and W multiples of ${this.factor}`;
        throw new ShapeError("AutoencoderKL.encode", [image.shape], text);
      }
      const moments = this.#parts()([image], this.#channels() * height! * width!, (part) => {
        const encoded = this.encoder.forward(part);
        return this.quant_conv?.forward(encoded) ?? encoded;
      });
      const [mean, logvar] = moments.chunk(2, 1) as [Tensor, Tensor];
      return { mean, logvar: logvar.clamp(-30, 20) };
    });
  }

  /** latents: [B, latent_channels, h, w] → [B, out_channels, f·h, f·w] in about [−1, 1], not clamped. Throws ShapeError for other channels. */
  decode(latents: Tensor): Tensor {
    return this.forward(latents);
  }

  protected override compute(latents: Tensor): Tensor {
    const { latent_channels: channels } = this.config;
    if (latents.rank !== 4 || latents.shape[1] !== channels)
      throw new ShapeError("AutoencoderKL.decode", [latents.shape], `needs [B, ${channels}, H, W]`);
    const pixels = latents.shape[2]! * latents.shape[3]! * this.factor ** 2;
    return this.#parts()([latents], this.#channels() * pixels, (part) =>
      this.decoder.forward(this.post_quant_conv?.forward(part) ?? part),
    );
  }

  #parts(): typeof inParts {
    return this.gradientCheckpointing ? inRecomputedParts : inParts;
  }

  /** Channels of the widest tensor, each counted by its share of the picture's area, times what bands are narrower: parts of several pictures need none. */
  #channels(): number {
    const { block_out_channels: channels } = this.config;
    return SHARE * Math.max(...channels.map((own, i) => Math.max(own, channels[i + 1] ?? 0) / 4 ** i));
  }
}

/** One draw: mean + exp(logvar / 2) · noise, noise being N(0, 1) of the mean's shape. */
export function sampleGaussian({ mean, logvar }: DiagonalGaussian, noise: Tensor): Tensor {
  return mean.add(logvar.mul(0.5).exp().mul(noise));
}

const OLD_ATTENTION: Readonly<Record<string, string>> = {
  query: "to_q",
  key: "to_k",
  value: "to_v",
  proj_attn: "to_out.0",
};

/** Keys of the attention layers as diffusers wrote them before 0.15, which the released Stable Diffusion 1 files have. For `MatchOptions.rename`. */
export function autoencoderRename(key: string): string {
  return key.replace(
    /(\.attentions\.0\.)(query|key|value|proj_attn)\./,
    (_, place: string, name: string) => `${place}${OLD_ATTENTION[name]}.`,
  );
}
