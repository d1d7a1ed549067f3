/** The UNet's attention parts (diffusers `Transformer2DModel`, `BasicTransformerBlock`, `Attention`, `FeedForward`). */
import { binary, type Tensor } from "@refl/tensor";
import { multiHeadAttention } from "../nn/attention.ts";
import { Conv2d } from "../nn/conv.ts";
import { Dropout } from "../nn/dropout.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { GroupNorm, LayerNorm } from "../nn/norm.ts";
import { inRowParts } from "../nn/parts.ts";

/** Attention from x to `context`, or to x itself. x: [B, T, width], context: [B, S, contextWidth], mask: [B, S] (0 hides) → [B, T, width]. */
export class Attention extends Module<[x: Tensor, context: Tensor | null, mask: Tensor | null], Tensor> {
  readonly to_q: Linear;
  readonly to_k: Linear;
  readonly to_v: Linear;
  readonly to_out: readonly [Linear, Dropout];
  readonly #heads: number;

  constructor(width: number, contextWidth: number, heads: number, dropout: number) {
    super();
    this.to_q = new Linear(width, width, { bias: false });
    this.to_k = new Linear(contextWidth, width, { bias: false });
    this.to_v = new Linear(contextWidth, width, { bias: false });
    this.to_out = [new Linear(width, width), new Dropout(dropout)];
    this.#heads = heads;
  }

  protected override compute(x: Tensor, context: Tensor | null, mask: Tensor | null): Tensor {
    const seen = context ?? x;
    const [q, k, v] = [this.to_q.forward(x), this.to_k.forward(seen), this.to_v.forward(seen)];
    const out = this.to_out[0].forward(multiHeadAttention(q, k, v, this.#heads, { mask }));
    return this.to_out[1].forward(out);
  }
}

/** value · GELU(gate), both halves of one projection (Shazeer 2020, arXiv 2002.05202). [..., in] → [..., out]. */
export class GEGLU extends Module<[x: Tensor], Tensor> {
  readonly proj: Linear;

  constructor(inFeatures: number, outFeatures: number) {
    super();
    this.proj = new Linear(inFeatures, 2 * outFeatures);
  }

  protected override compute(x: Tensor): Tensor {
    const [value, gate] = this.proj.forward(x).chunk(2, -1) as [Tensor, Tensor];
    return binary("geglu", value, gate);
  }
}

/** GEGLU to four times the width and back. Its projection is eight times as wide as x, the widest of the UNet: rows that exceed a binding are worked off in parts. */
export class FeedForward extends Module<[x: Tensor], Tensor> {
  readonly net: readonly [GEGLU, Dropout, Linear];

  constructor(width: number, dropout: number) {
    super();
    this.net = [new GEGLU(width, 4 * width), new Dropout(dropout), new Linear(4 * width, width)];
  }

  protected override compute(x: Tensor): Tensor {
    const [geglu, dropout, out] = this.net;
    return inRowParts(x, geglu.proj.outFeatures, (rows) => out.forward(dropout.forward(geglu.forward(rows))));
  }
}

/** Pre-norm self-attention, cross-attention and feed-forward, each with its residual. x: [B, T, width]. */
export class BasicTransformerBlock extends Module<[x: Tensor, context: Tensor, mask: Tensor | null], Tensor> {
  readonly norm1: LayerNorm;
  readonly attn1: Attention;
  readonly norm2: LayerNorm;
  readonly attn2: Attention;
  readonly norm3: LayerNorm;
  readonly ff: FeedForward;

  constructor(width: number, contextWidth: number, heads: number, dropout: number) {
    super();
    this.norm1 = new LayerNorm(width, 1e-5);
    this.attn1 = new Attention(width, width, heads, dropout);
    this.norm2 = new LayerNorm(width, 1e-5);
    this.attn2 = new Attention(width, contextWidth, heads, dropout);
    this.norm3 = new LayerNorm(width, 1e-5);
    this.ff = new FeedForward(width, dropout);
  }

  protected override compute(x: Tensor, context: Tensor, mask: Tensor | null): Tensor {
    const looked = x.add(this.attn1.forward(this.norm1.forward(x), null, null));
    const read = looked.add(this.attn2.forward(this.norm2.forward(looked), context, mask));
    return read.add(this.ff.forward(this.norm3.forward(read)));
  }
}

export interface Transformer2DOptions {
  readonly contextWidth: number;
  readonly heads: number;
  readonly layers: number;
  readonly groups: number;
  readonly dropout: number;
  /** Projections are stored as linear layers instead of 1×1 convolutions; they compute the same. */
  readonly useLinearProjection: boolean;
}

/** Pixels as tokens through transformer blocks, added to the input. x: [B, C, H, W], context: [B, S, contextWidth] → [B, C, H, W]. */
export class Transformer2DModel extends Module<[x: Tensor, context: Tensor, mask: Tensor | null], Tensor> {
  readonly norm: GroupNorm;
  readonly proj_in: Linear | Conv2d;
  readonly transformer_blocks: readonly BasicTransformerBlock[];
  readonly proj_out: Linear | Conv2d;

  constructor(channels: number, options: Transformer2DOptions) {
    super();
    const { contextWidth, heads, layers, groups, dropout, useLinearProjection } = options;
    const projection = () => (useLinearProjection ? new Linear(channels, channels) : new Conv2d(channels, channels, 1));
    // 1e-6 where the rest of the UNet has norm_eps: so it is in all released checkpoints.
    this.norm = new GroupNorm(groups, channels, 1e-6);
    this.proj_in = projection();
    this.transformer_blocks = Array.from(
      { length: layers },
      () => new BasicTransformerBlock(channels, contextWidth, heads, dropout),
    );
    this.proj_out = projection();
  }

  protected override compute(x: Tensor, context: Tensor, mask: Tensor | null): Tensor {
    const [batch, channels, height, width] = x.shape as [number, number, number, number];
    const tokens = this.norm
      .forward(x)
      .permute(0, 2, 3, 1)
      .reshape(batch, height * width, channels);
    let hidden = project(this.proj_in, tokens);
    for (const block of this.transformer_blocks) hidden = block.forward(hidden, context, mask);
    const out = project(this.proj_out, hidden).reshape(batch, height, width, channels);
    return x.add(out.permute(0, 3, 1, 2));
  }
}

/** On tokens a 1×1 convolution is a linear layer with its weight [out, in, 1, 1] seen as [out, in]. */
function project(layer: Linear | Conv2d, tokens: Tensor): Tensor {
  if (layer instanceof Linear) return layer.forward(tokens);
  const [out, inputs] = layer.weight.shape as [number, number];
  return tokens.linear(layer.weight.value.reshape(out, inputs), layer.bias?.value ?? null);
}
