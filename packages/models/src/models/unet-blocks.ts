/** The UNet's blocks: resnets, each followed by attention where the block has it, and a change of resolution at the end. */
import { cat, type Tensor } from "@refl/tensor";
import { Module } from "../nn/module.ts";
import { Downsample2D, ResnetBlock2D, type ResnetOptions, Upsample2D } from "./unet-resnet.ts";
import { Transformer2DModel, type Transformer2DOptions } from "./unet-transformer.ts";

/** What every block is given beside pixels. */
export interface UNetCondition {
  /** [B, timeChannels], after its SiLU. */
  readonly time: Tensor;
  /** Text states, [B, S, D]. */
  readonly context: Tensor;
  /** [B, S] i32, 0 hides a state; null shows all. */
  readonly mask: Tensor | null;
}

/** What blocks have in common. */
export interface UNetBlockOptions {
  readonly layers: number;
  readonly resnet: ResnetOptions;
  /** Null for blocks without attention. */
  readonly attention: Transformer2DOptions | null;
}

function transformers(count: number, channels: number, options: Transformer2DOptions | null): Transformer2DModel[] {
  return options ? Array.from({ length: count }, () => new Transformer2DModel(channels, options)) : [];
}

/** `DownBlock2D`, or `CrossAttnDownBlock2D` with attention. Returns the pixels and what the way up will join, in order. */
export class DownBlock2D extends Module<[x: Tensor, condition: UNetCondition], { hidden: Tensor; skips: Tensor[] }> {
  readonly attentions: readonly Transformer2DModel[];
  readonly resnets: readonly ResnetBlock2D[];
  readonly downsamplers: readonly Downsample2D[];

  constructor(inChannels: number, outChannels: number, downsample: boolean, options: UNetBlockOptions) {
    super();
    const { layers, resnet, attention } = options;
    this.attentions = transformers(layers, outChannels, attention);
    this.resnets = Array.from(
      { length: layers },
      (_, i) => new ResnetBlock2D(i === 0 ? inChannels : outChannels, outChannels, resnet),
    );
    this.downsamplers = downsample ? [new Downsample2D(outChannels)] : [];
  }

  protected override compute(x: Tensor, { time, context, mask }: UNetCondition): { hidden: Tensor; skips: Tensor[] } {
    const skips: Tensor[] = [];
    let hidden = x;
    for (const [i, resnet] of this.resnets.entries()) {
      hidden = this.part(resnet, hidden, time);
      const attention = this.attentions[i];
      if (attention) hidden = this.part(attention, hidden, context, mask);
      skips.push(hidden);
    }
    for (const downsampler of this.downsamplers) {
      hidden = downsampler.forward(hidden);
      skips.push(hidden);
    }
    return { hidden, skips };
  }
}

/** `UNetMidBlock2D` (one resnet), or `UNetMidBlock2DCrossAttn` (resnet, transformer, resnet). */
export class MidBlock2D extends Module<[x: Tensor, condition: UNetCondition], Tensor> {
  readonly attentions: readonly Transformer2DModel[];
  readonly resnets: readonly ResnetBlock2D[];

  constructor(channels: number, { resnet, attention }: UNetBlockOptions) {
    super();
    this.attentions = transformers(1, channels, attention);
    this.resnets = Array.from({ length: attention ? 2 : 1 }, () => new ResnetBlock2D(channels, channels, resnet));
  }

  protected override compute(x: Tensor, { time, context, mask }: UNetCondition): Tensor {
    let hidden = x;
    for (const [i, resnet] of this.resnets.entries()) {
      hidden = this.part(resnet, hidden, time);
      const attention = this.attentions[i];
      if (attention) hidden = this.part(attention, hidden, context, mask);
    }
    return hidden;
  }
}

export interface UpBlockChannels {
  /** Channels that the block above hands down. */
  readonly previous: number;
  readonly out: number;
  /** Channels of each joined skip, in the order in which they are joined. */
  readonly skips: readonly number[];
}

/** `UpBlock2D`, or `CrossAttnUpBlock2D` with attention. `skips` are joined in order, one before each resnet. */
export class UpBlock2D extends Module<[x: Tensor, skips: readonly Tensor[], condition: UNetCondition], Tensor> {
  readonly attentions: readonly Transformer2DModel[];
  readonly resnets: readonly ResnetBlock2D[];
  readonly upsamplers: readonly Upsample2D[];

  constructor({ previous, out, skips }: UpBlockChannels, upsample: boolean, options: UNetBlockOptions) {
    super();
    const { resnet, attention } = options;
    this.attentions = transformers(skips.length, out, attention);
    this.resnets = skips.map((skip, i) => new ResnetBlock2D((i === 0 ? previous : out) + skip, out, resnet));
    this.upsamplers = upsample ? [new Upsample2D(out)] : [];
  }

  protected override compute(x: Tensor, skips: readonly Tensor[], { time, context, mask }: UNetCondition): Tensor {
    let hidden = x;
    for (const [i, resnet] of this.resnets.entries()) {
      hidden = this.part(resnet, cat([hidden, skips[i]!], 1), time);
      const attention = this.attentions[i];
      if (attention) hidden = this.part(attention, hidden, context, mask);
    }
    for (const upsampler of this.upsamplers) hidden = upsampler.forward(hidden);
    return hidden;
  }
}
