/** The tiny autoencoder for Stable Diffusion's latents (TAESD; diffusers' `AutoencoderTiny`): convolutions and ReLUs alone. */
import { ShapeError, type Tensor } from "@refl/tensor";
import * as v from "valibot";
import { isBookkeepingKey, parseConfig } from "../formats/config.ts";
import { isJsonObject, type JsonObject } from "../formats/json.ts";
import { Conv2d } from "../nn/conv.ts";
import { Module } from "../nn/module.ts";
import { addBands, type Bands, convBands, doubleBands, fitBands, halveBands, joinBands, mapBands } from "./bands.ts";
import { checkNeutral, count } from "./fields.ts";

const schema = v.strictObject({
  in_channels: v.optional(count, 3),
  out_channels: v.optional(count, 3),
  encoder_block_out_channels: v.optional(v.array(count), [64, 64, 64, 64]),
  decoder_block_out_channels: v.optional(v.array(count), [64, 64, 64, 64]),
  latent_channels: v.optional(count, 4),
  num_encoder_blocks: v.optional(v.array(count), [1, 3, 3, 3]),
  num_decoder_blocks: v.optional(v.array(count), [3, 3, 3, 1]),
  /** Latents of the diffusion model are the encoder's times this. */
  scaling_factor: v.optional(v.pipe(v.number(), v.finite(), v.gtValue(0)), 1),
});

export type AutoencoderTinyConfig = v.InferOutput<typeof schema>;

/** Fields of diffusers at the values where they change nothing. */
const NEUTRAL: Readonly<Record<string, readonly unknown[]>> = {
  act_fn: ["relu"],
  block_out_channels: [null],
  upsample_fn: ["nearest"],
  upsampling_scaling_factor: [2],
  force_upcast: [true, false],
  latent_magnitude: [3],
  latent_shift: [0.5],
  shift_factor: [0, null],
};

/** relu(x + conv(relu(conv(relu(conv(x)))))). Bands [B, C, H, W]. */
class TinyBlock extends Module<[x: Bands], Bands> {
  /** Positions 1 and 3 of the sequence are activations. */
  readonly conv: readonly (Conv2d | null)[];

  constructor(channels: number) {
    super();
    const conv = () => new Conv2d(channels, channels, 3, { padding: 1 });
    this.conv = [conv(), null, conv(), null, conv()];
  }

  protected override compute(x: Bands): Bands {
    const run = (bands: Bands, layer: Conv2d | null): Bands => (layer ? convBands(layer, bands) : relu(bands));
    return relu(addBands(this.conv.reduce(run, x), x));
  }
}

/** A place of the sequence without weights. */
class Step extends Module<[x: Bands], Bands> {
  readonly #step: (bands: Bands) => Bands;

  constructor(step: (bands: Bands) => Bands) {
    super();
    this.#step = step;
  }

  protected override compute(x: Bands): Bands {
    return this.#step(x);
  }
}

const relu = (bands: Bands): Bands => mapBands(bands, (band) => band.relu());

/** Layers in their order; a convolution with stride 2 halves, all others keep height and width. */
class TinyLayers extends Module<[x: Bands], Bands> {
  readonly layers: readonly (Conv2d | TinyBlock | Step)[];

  constructor(layers: readonly (Conv2d | TinyBlock | Step)[]) {
    super();
    this.layers = layers;
  }

  protected override compute(x: Bands): Bands {
    return this.layers.reduce((bands, layer) => {
      if (layer instanceof TinyBlock) return this.part(layer, bands);
      if (layer instanceof Step) return layer.forward(bands);
      return layer.stride === 2 ? halveBands(layer, bands, 1) : convBands(layer, bands);
    }, x);
  }
}

function encoderLayers(config: AutoencoderTinyConfig): TinyLayers {
  const channels = config.encoder_block_out_channels;
  const layers = config.num_encoder_blocks.flatMap((blocks, i) => {
    const width = channels[i]!;
    const first =
      i === 0
        ? new Conv2d(config.in_channels, width, 3, { padding: 1 })
        : new Conv2d(width, width, 3, { stride: 2, padding: 1, bias: false });
    return [first, ...Array.from({ length: blocks }, () => new TinyBlock(width))];
  });
  return new TinyLayers([...layers, new Conv2d(channels.at(-1)!, config.latent_channels, 3, { padding: 1 })]);
}

function decoderLayers(config: AutoencoderTinyConfig): TinyLayers {
  const channels = config.decoder_block_out_channels;
  const layers = config.num_decoder_blocks.flatMap((blocks, i) => {
    const width = channels[i]!;
    const parts = Array.from({ length: blocks }, () => new TinyBlock(width));
    if (i === channels.length - 1) return [...parts, new Conv2d(width, config.out_channels, 3, { padding: 1 })];
    const double = new Step((bands) => doubleBands(fitBands(bands, width, 2)));
    return [...parts, double, new Conv2d(width, width, 3, { padding: 1, bias: false })];
  });
  return new TinyLayers([
    new Conv2d(config.latent_channels, channels[0]!, 3, { padding: 1 }),
    new Step(relu),
    ...layers,
  ]);
}

/**
 * Pictures in [−1, 1] to latents and back as diffusers has it. The latents are the diffusion model's own: nothing is scaled by 0.18215. Pictures that exceed
 * the largest binding of the device are worked off in bands of rows. Calling it decodes.
 */
export class AutoencoderTiny extends Module<[latents: Tensor], Tensor> {
  readonly config: AutoencoderTinyConfig;
  readonly encoder: TinyLayers;
  readonly decoder: TinyLayers;

  /**
   * @param config fields of `vae/config.json`; those left out take diffusers' defaults, which are TAESD's
   * @throws DataError naming `file` and the field
   */
  constructor(config: unknown = {}, file = "vae/config.json") {
    super();
    if (isJsonObject(config)) checkNeutral(config, NEUTRAL, file);
    const known = (key: string): boolean => isBookkeepingKey(key) || Object.hasOwn(NEUTRAL, key);
    this.config = parseConfig(schema, config, file, known);
    this.encoder = encoderLayers(this.config);
    this.decoder = decoderLayers(this.config);
  }

  /** Pixels on a side of the square that becomes one latent position. */
  get factor(): number {
    return 2 ** (this.config.num_encoder_blocks.length - 1);
  }

  /** `vae/config.json` as diffusers reads it. */
  toConfig(): JsonObject {
    return { _class_name: "AutoencoderTiny", act_fn: "relu", ...this.config };
  }

  /** image: [B, in_channels, H, W] in [−1, 1] → latents. Throws ShapeError when H and W are not multiples of {@link factor}. */
  encode(image: Tensor): Tensor {
    return this.run(() => {
      const { in_channels: channels, encoder_block_out_channels: widths } = this.config;
      const [, given, height, width] = image.shape;
      if (image.rank !== 4 || given !== channels || height! % this.factor || width! % this.factor) {
        const text = `needs [B, ${channels}, H, W] with H and W multiples of ${this.factor}`;
        throw new ShapeError("AutoencoderTiny.encode", [image.shape], text);
      }
      const bands = fitBands([image.add(1).mul(0.5)], Math.max(...widths), 1, this.factor);
      return joinBands(this.encoder.forward(bands));
    });
  }

  /** latents: [B, latent_channels, h, w] → [B, out_channels, f·h, f·w] in about [−1, 1], not clamped. Throws ShapeError for other channels. */
  decode(latents: Tensor): Tensor {
    return this.forward(latents);
  }

  protected override compute(latents: Tensor): Tensor {
    const { latent_channels: channels } = this.config;
    if (latents.rank !== 4 || latents.shape[1] !== channels)
      throw new ShapeError("AutoencoderTiny.decode", [latents.shape], `needs [B, ${channels}, H, W]`);
    const bounded = latents.div(3).tanh().mul(3);
    return joinBands(this.decoder.forward([bounded]))
      .mul(2)
      .sub(1);
  }
}

/**
 * Keys of TAESD's own files (`taesd_encoder`, `taesd_decoder`), which are bare positions: for `MatchOptions.rename`. In the decoder's the bounding of the
 * latents is position 0.
 */
export function taesdRename(part: "encoder" | "decoder"): (key: string) => string {
  return (key) =>
    key.replace(/^(\d+)\./, (_, at: string) => `${part}.layers.${Number(at) - (part === "decoder" ? 1 : 0)}.`);
}
