/** The UNet's convolutional parts: residual blocks with time embedding, and the halving and doubling of space. */
import { type Tensor, upsampleNearest2x } from "@refl/tensor";
import { Conv2d } from "../nn/conv.ts";
import { Dropout } from "../nn/dropout.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { GroupNorm } from "../nn/norm.ts";

export interface ResnetOptions {
  /** Width of the time embedding. */
  readonly timeChannels: number;
  readonly groups: number;
  readonly eps: number;
  readonly dropout: number;
}

/**
 * norm, SiLU, conv, + time, norm, SiLU, dropout, conv, + shortcut.
 * x: [B, in, H, W], time: [B, timeChannels] after its SiLU, which is the same for all blocks and done once → [B, out, H, W].
 */
export class ResnetBlock2D extends Module<[x: Tensor, time: Tensor], Tensor> {
  readonly norm1: GroupNorm;
  readonly conv1: Conv2d;
  readonly time_emb_proj: Linear;
  readonly norm2: GroupNorm;
  readonly dropout: Dropout;
  readonly conv2: Conv2d;
  readonly conv_shortcut: Conv2d | null;

  constructor(inChannels: number, outChannels: number, { timeChannels, groups, eps, dropout }: ResnetOptions) {
    super();
    this.norm1 = new GroupNorm(groups, inChannels, eps);
    this.conv1 = new Conv2d(inChannels, outChannels, 3, { padding: 1 });
    this.time_emb_proj = new Linear(timeChannels, outChannels);
    this.norm2 = new GroupNorm(groups, outChannels, eps);
    this.dropout = new Dropout(dropout);
    this.conv2 = new Conv2d(outChannels, outChannels, 3, { padding: 1 });
    this.conv_shortcut = inChannels === outChannels ? null : new Conv2d(inChannels, outChannels, 1);
  }

  protected override compute(x: Tensor, time: Tensor): Tensor {
    const shift = this.time_emb_proj.forward(time);
    const first = this.conv1.forward(this.norm1.forward(x, "silu")).add(shift.reshape(...shift.shape, 1, 1));
    const second = this.conv2.forward(this.dropout.forward(this.norm2.forward(first, "silu")));
    return (this.conv_shortcut?.forward(x) ?? x).add(second);
  }
}

/** Halves height and width: conv 3×3 with stride 2. */
export class Downsample2D extends Module<[x: Tensor], Tensor> {
  readonly conv: Conv2d;

  constructor(channels: number) {
    super();
    this.conv = new Conv2d(channels, channels, 3, { stride: 2, padding: 1 });
  }

  protected override compute(x: Tensor): Tensor {
    return this.conv.forward(x);
  }
}

/** Doubles height and width: each pixel fourfold, then conv 3×3. */
export class Upsample2D extends Module<[x: Tensor], Tensor> {
  readonly conv: Conv2d;

  constructor(channels: number) {
    super();
    this.conv = new Conv2d(channels, channels, 3, { padding: 1 });
  }

  protected override compute(x: Tensor): Tensor {
    return this.conv.forward(upsampleNearest2x(x));
  }
}
