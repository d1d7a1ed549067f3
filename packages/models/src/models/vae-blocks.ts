/** The blocks of Stable Diffusion's autoencoder on bands of rows, under diffusers' names. */
import { cat, softmax, type Tensor } from "@refl/tensor";
import { Conv2d } from "../nn/conv.ts";
import { Dropout } from "../nn/dropout.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { GroupNorm } from "../nn/norm.ts";
import { addBands, type Bands, convBands, doubleBands, fitBands, halveBands, joinBands, normBands } from "./bands.ts";

/** Of all norms in the autoencoder. */
export const VAE_EPS = 1e-6;

/** norm, SiLU, conv, norm, SiLU, conv, + shortcut: a UNet's resnet without time. Bands [B, in, H, W] → [B, out, H, W]. */
export class AutoencoderResnetBlock2D extends Module<[x: Bands], Bands> {
  readonly norm1: GroupNorm;
  readonly conv1: Conv2d;
  readonly norm2: GroupNorm;
  readonly conv2: Conv2d;
  readonly conv_shortcut: Conv2d | null;

  constructor(inChannels: number, outChannels: number, groups: number) {
    super();
    this.norm1 = new GroupNorm(groups, inChannels, VAE_EPS);
    this.conv1 = new Conv2d(inChannels, outChannels, 3, { padding: 1 });
    this.norm2 = new GroupNorm(groups, outChannels, VAE_EPS);
    this.conv2 = new Conv2d(outChannels, outChannels, 3, { padding: 1 });
    this.conv_shortcut = inChannels === outChannels ? null : new Conv2d(inChannels, outChannels, 1);
  }

  protected override compute(x: Bands): Bands {
    const first = convBands(this.conv1, normBands(this.norm1, x, "silu"));
    const second = convBands(this.conv2, normBands(this.norm2, first, "silu"));
    return addBands(this.conv_shortcut ? convBands(this.conv_shortcut, x) : x, second);
  }
}

/**
 * Self-attention of pixels with one head as wide as the channels, added to the input. x: [B, C, H, W]. Scores are made for as many
 * queries at a time as the device can hold.
 */
export class AutoencoderAttention extends Module<[x: Tensor], Tensor> {
  readonly group_norm: GroupNorm;
  readonly to_q: Linear;
  readonly to_k: Linear;
  readonly to_v: Linear;
  readonly to_out: readonly [Linear, Dropout];

  constructor(channels: number, groups: number) {
    super();
    this.group_norm = new GroupNorm(groups, channels, VAE_EPS);
    this.to_q = new Linear(channels, channels);
    this.to_k = new Linear(channels, channels);
    this.to_v = new Linear(channels, channels);
    this.to_out = [new Linear(channels, channels), new Dropout(0)];
  }

  protected override compute(x: Tensor): Tensor {
    const [batch, channels, height, width] = x.shape as [number, number, number, number];
    const tokens = height * width;
    const flat = this.group_norm.forward(x).reshape(batch, channels, tokens).transpose(1, 2);
    const q = this.to_q.forward(flat).mul(channels ** -0.5);
    const k = this.to_k.forward(flat).transpose(1, 2);
    const v = this.to_v.forward(flat);
    const most = Math.max(1, Math.floor(x.device.largestBinding / 2 / (batch * tokens * 4)));
    const each = Math.ceil(tokens / Math.ceil(tokens / most));
    const looked = Array.from({ length: Math.ceil(tokens / each) }, (_, i) => {
      const queries = q.slice(1, i * each, Math.min(tokens, (i + 1) * each));
      return softmax(queries.matmul(k), -1).matmul(v);
    });
    const out = this.to_out[0].forward(looked.length === 1 ? looked[0]! : cat(looked, 1));
    return x.add(out.transpose(1, 2).reshape(batch, channels, height, width));
  }
}

/** Resnet, attention, resnet at the lowest resolution. x: [B, C, H, W]. */
export class AutoencoderMidBlock2D extends Module<[x: Tensor], Tensor> {
  readonly attentions: readonly AutoencoderAttention[];
  readonly resnets: readonly AutoencoderResnetBlock2D[];

  constructor(channels: number, groups: number, attend: boolean) {
    super();
    this.attentions = attend ? [new AutoencoderAttention(channels, groups)] : [];
    this.resnets = [0, 1].map(() => new AutoencoderResnetBlock2D(channels, channels, groups));
  }

  protected override compute(x: Tensor): Tensor {
    const first = joinBands(this.part(this.resnets[0]!, [x]));
    const [attention] = this.attentions;
    const looked = attention ? this.part(attention, first) : first;
    return joinBands(this.part(this.resnets[1]!, [looked]));
  }
}

/** A sampler's convolution, under the name that diffusers has for it. */
class Sampler extends Module<[x: Bands], Bands> {
  readonly conv: Conv2d;
  readonly #down: boolean;

  constructor(channels: number, down: boolean) {
    super();
    this.conv = new Conv2d(channels, channels, 3, down ? { stride: 2 } : { padding: 1 });
    this.#down = down;
  }

  /** Down: zeros right and below alone, then stride 2. Up: each pixel fourfold, then the convolution. */
  protected override compute(x: Bands): Bands {
    if (this.#down) return halveBands(this.conv, x, 0);
    return convBands(this.conv, doubleBands(fitBands(x, this.conv.weight.shape[0]!, 2)));
  }
}

/** `DownEncoderBlock2D`: resnets, then half of height and width. */
export class DownEncoderBlock2D extends Module<[x: Bands], Bands> {
  readonly resnets: readonly AutoencoderResnetBlock2D[];
  readonly downsamplers: readonly Sampler[];

  constructor(inChannels: number, outChannels: number, layers: number, groups: number, downsample: boolean) {
    super();
    this.resnets = resnets(inChannels, outChannels, layers, groups);
    this.downsamplers = downsample ? [new Sampler(outChannels, true)] : [];
  }

  protected override compute(x: Bands): Bands {
    return [...this.resnets, ...this.downsamplers].reduce((hidden, part) => this.part(part, hidden), x);
  }
}

/** `UpDecoderBlock2D`: resnets, then twice height and width. */
export class UpDecoderBlock2D extends Module<[x: Bands], Bands> {
  readonly resnets: readonly AutoencoderResnetBlock2D[];
  readonly upsamplers: readonly Sampler[];

  constructor(inChannels: number, outChannels: number, layers: number, groups: number, upsample: boolean) {
    super();
    this.resnets = resnets(inChannels, outChannels, layers, groups);
    this.upsamplers = upsample ? [new Sampler(outChannels, false)] : [];
  }

  protected override compute(x: Bands): Bands {
    return [...this.resnets, ...this.upsamplers].reduce((hidden, part) => this.part(part, hidden), x);
  }
}

function resnets(inChannels: number, outChannels: number, layers: number, groups: number): AutoencoderResnetBlock2D[] {
  return Array.from(
    { length: layers },
    (_, i) => new AutoencoderResnetBlock2D(i === 0 ? inChannels : outChannels, outChannels, groups),
  );
}
