/** The denoising UNet of Stable Diffusion (Rombach et al. 2022, arXiv 2112.10752) under diffusers' names. */
import { ShapeError, type Tensor } from "@refl/tensor";
import type { JsonObject } from "../formats/json.ts";
import { Conv2d } from "../nn/conv.ts";
import { Module } from "../nn/module.ts";
import { GroupNorm } from "../nn/norm.ts";
import { inParts } from "../nn/parts.ts";
import { TimestepEmbedding, Timesteps } from "../nn/timestep.ts";
import { DownBlock2D, MidBlock2D, type UNetBlockOptions, UpBlock2D } from "./unet-blocks.ts";
import { parseUNet2DConditionConfig, type UNet2DConditionConfig, unetBlockConfig } from "./unet-config.ts";

export interface UNetOptions {
  /** [B, S] i32: text states to look at (1) or not (0). Default: all, as Stable Diffusion. */
  readonly encoderMask?: Tensor | null;
}

/**
 * Predicts noise, velocity or x0 (the scheduler says which) for `sample` at `timesteps` under the text states.
 *
 * sample: [B, in_channels, H, W], H and W multiples of 2^(blocks − 1). timesteps: [B] or [1] f32. encoderHiddenStates: [B, S, cross_attention_dim].
 * Returns [B, out_channels, H, W] in the sample's dtype, whatever the weights' is. A batch whose tensors exceed the device's largest binding is worked off in
 * parts. Throws ShapeError when the sizes do not fit.
 */
export class UNet2DConditionModel extends Module<
  [sample: Tensor, timesteps: Tensor, encoderHiddenStates: Tensor, options?: UNetOptions],
  Tensor
> {
  readonly config: UNet2DConditionConfig;
  readonly conv_in: Conv2d;
  readonly time_proj: Timesteps;
  readonly time_embedding: TimestepEmbedding;
  readonly down_blocks: readonly DownBlock2D[];
  readonly up_blocks: readonly UpBlock2D[];
  readonly mid_block: MidBlock2D | null;
  readonly conv_norm_out: GroupNorm;
  readonly conv_out: Conv2d;

  /**
   * @param config fields of `unet/config.json`; those left out take diffusers' defaults
   * @throws DataError naming `file` and the field
   */
  constructor(config: unknown = {}, file = "unet/config.json") {
    super();
    const parsed = parseUNet2DConditionConfig(config, file);
    const { block_out_channels: channels, norm_num_groups: groups, norm_eps: eps } = parsed;
    const [first, last] = [channels[0]!, channels.at(-1)!];
    const blocks = channels.length;
    const timeChannels = first * 4;
    const resnet = { timeChannels, groups, eps, dropout: parsed.dropout };
    const blockOptions = (i: number, attends: boolean): UNetBlockOptions => {
      const { layers, crossAttentionDim, transformerLayers, heads } = unetBlockConfig(parsed, i);
      const attention = {
        contextWidth: crossAttentionDim,
        heads,
        layers: transformerLayers,
        groups,
        dropout: parsed.dropout,
        useLinearProjection: parsed.use_linear_projection,
      };
      return { layers, resnet, attention: attends ? attention : null };
    };
    this.config = parsed;
    this.conv_in = new Conv2d(parsed.in_channels, first, 3, { padding: 1 });
    this.time_proj = new Timesteps(first, { flipSinToCos: parsed.flip_sin_to_cos, freqShift: parsed.freq_shift });
    this.time_embedding = new TimestepEmbedding(first, timeChannels);
    this.down_blocks = parsed.down_block_types.map((type, i) => {
      const options = blockOptions(i, type === "CrossAttnDownBlock2D");
      return new DownBlock2D(channels[Math.max(i - 1, 0)]!, channels[i]!, i < blocks - 1, options);
    });
    this.up_blocks = parsed.up_block_types.map((type, i) => {
      const at = blocks - 1 - i;
      const options = blockOptions(at, type === "CrossAttnUpBlock2D");
      const out = channels[at]!;
      const skips = [...new Array<number>(options.layers).fill(out), channels[Math.max(at - 1, 0)]!];
      return new UpBlock2D({ previous: channels[Math.min(at + 1, blocks - 1)]!, out, skips }, i < blocks - 1, options);
    });
    this.mid_block = parsed.mid_block_type
      ? new MidBlock2D(last, blockOptions(blocks - 1, parsed.mid_block_type === "UNetMidBlock2DCrossAttn"))
      : null;
    this.conv_norm_out = new GroupNorm(groups, first, eps);
    this.conv_out = new Conv2d(first, parsed.out_channels, 3, { padding: 1 });
  }

  /** Width of the text states that it takes. */
  get crossAttentionDim(): number {
    return unetBlockConfig(this.config, 0).crossAttentionDim;
  }

  /** `unet/config.json` as diffusers reads it. */
  toConfig(): JsonObject {
    return { _class_name: "UNet2DConditionModel", ...this.config };
  }

  protected override compute(
    sample: Tensor,
    timesteps: Tensor,
    encoderHiddenStates: Tensor,
    options: UNetOptions = {},
  ): Tensor {
    this.#check(sample, timesteps, encoderHiddenStates);
    const mask = options.encoderMask ?? null;
    const [height, width] = sample.shape.slice(2) as [number, number];
    return inParts([sample, timesteps, encoderHiddenStates, mask], this.#channels() * height * width, (...part) =>
      this.#predict(...part),
    );
  }

  /** Channels of the widest tensor, each counted by its share of the sample's area: what a resnet is given. */
  #channels(): number {
    const widest = (block: DownBlock2D | UpBlock2D) =>
      Math.max(...block.resnets.map(({ norm1 }) => norm1.weight.shape[0]!));
    const down = this.down_blocks.map((block, i) => widest(block) / 4 ** i);
    const up = this.up_blocks.map((block, i) => widest(block) / 4 ** (this.up_blocks.length - 1 - i));
    return Math.max(...down, ...up);
  }

  #predict(sample: Tensor, timesteps: Tensor, encoderHiddenStates: Tensor, mask: Tensor | null): Tensor {
    const { dtype } = this.conv_in.weight.value;
    const time = this.time_embedding.forward(this.time_proj.forward(timesteps).to(dtype));
    const context = encoderHiddenStates.to(dtype);
    const condition = { time: time.silu(), context, mask };
    let hidden = this.conv_in.forward(sample.to(dtype));
    const skips = [hidden];
    for (const block of this.down_blocks) {
      const result = block.forward(hidden, condition);
      hidden = result.hidden;
      skips.push(...result.skips);
    }
    if (this.mid_block) hidden = this.mid_block.forward(hidden, condition);
    for (const block of this.up_blocks) {
      const joined = skips.splice(-block.resnets.length).reverse();
      hidden = block.forward(hidden, joined, condition);
    }
    return this.conv_out.forward(this.conv_norm_out.forward(hidden, "silu")).to(sample.dtype);
  }

  #check(sample: Tensor, timesteps: Tensor, states: Tensor): void {
    const [batch, channels, height, width] = sample.shape;
    const unit = 2 ** (this.down_blocks.length - 1);
    const { in_channels: wanted } = this.config;
    if (sample.rank !== 4 || channels !== wanted || height! % unit || width! % unit) {
      throw new ShapeError(
        "UNet2DConditionModel",
        [sample.shape],
        `sample must be [B, ${wanted}, H, W] with H and W multiples of ${unit}`,
      );
    }
    if (timesteps.rank !== 1 || (timesteps.shape[0] !== batch && timesteps.shape[0] !== 1)) {
      throw new ShapeError("UNet2DConditionModel", [sample.shape, timesteps.shape], "timesteps must be [B] or [1]");
    }
    if (states.rank !== 3 || states.shape[0] !== batch || states.shape[2] !== this.crossAttentionDim) {
      throw new ShapeError(
        "UNet2DConditionModel",
        [sample.shape, states.shape],
        `text states must be [B, tokens, ${this.crossAttentionDim}]`,
      );
    }
  }
}
