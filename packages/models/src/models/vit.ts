/** The vision transformer of BLIP (Dosovitskiy et al. 2021, arXiv 2010.11929; BLIP's `vit.py`) under its names. */
import { cat, ShapeError, type Tensor } from "@refl/tensor";
import * as v from "valibot";
import { multiHeadAttention } from "../nn/attention.ts";
import { Conv2d } from "../nn/conv.ts";
import { DropPath } from "../nn/dropout.ts";
import { normalInit, zerosInit } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { LayerNorm } from "../nn/norm.ts";
import { inParts } from "../nn/parts.ts";
import { ParameterSlot } from "../nn/slot.ts";
import { count, probability } from "./fields.ts";

/** The `vision` part of a BLIP config. ViT-L/16 is 224, 16, 1024, 24, 16 with drop path 0.1. */
export const visionSchema = v.strictObject({
  image_size: count,
  patch_size: count,
  embed_dim: count,
  depth: count,
  num_heads: count,
  /** Width of the inner layer as a multiple of `embed_dim`. */
  mlp_ratio: v.optional(v.pipe(v.number(), v.gtValue(0)), 4),
  /** Of the last block; earlier ones rise linearly from 0. */
  drop_path_rate: v.optional(probability, 0),
});

export type VisionConfig = v.InferOutput<typeof visionSchema>;

const EPS = 1e-6;
const STD = 0.02;

function linear(inFeatures: number, outFeatures: number): Linear {
  return new Linear(inFeatures, outFeatures, { weightInit: normalInit(STD), biasInit: zerosInit });
}

class PatchEmbed extends Module<[image: Tensor], Tensor> {
  readonly proj: Conv2d;

  constructor(patchSize: number, width: number) {
    super();
    this.proj = new Conv2d(3, width, patchSize, { stride: patchSize });
  }

  /** [B, 3, S, S] → [B, patches, width], patches row by row. */
  protected override compute(image: Tensor): Tensor {
    return this.proj.forward(image).flatten(2).transpose(1, 2);
  }
}

class VisionAttention extends Module<[x: Tensor], Tensor> {
  readonly qkv: Linear;
  readonly proj: Linear;
  readonly #heads: number;

  constructor(width: number, heads: number) {
    super();
    this.qkv = linear(width, 3 * width);
    this.proj = linear(width, width);
    this.#heads = heads;
  }

  protected override compute(x: Tensor): Tensor {
    const [q, k, v] = this.qkv.forward(x).chunk(3, -1) as [Tensor, Tensor, Tensor];
    return this.proj.forward(multiHeadAttention(q, k, v, this.#heads));
  }
}

class VisionMlp extends Module<[x: Tensor], Tensor> {
  readonly fc1: Linear;
  readonly fc2: Linear;

  constructor(width: number, inner: number) {
    super();
    this.fc1 = linear(width, inner);
    this.fc2 = linear(inner, width);
  }

  protected override compute(x: Tensor): Tensor {
    return this.fc2.forward(this.fc1.forward(x, "gelu"));
  }
}

class VisionBlock extends Module<[x: Tensor], Tensor> {
  readonly norm1: LayerNorm;
  readonly attn: VisionAttention;
  readonly drop_path: DropPath;
  readonly norm2: LayerNorm;
  readonly mlp: VisionMlp;
  readonly drop_path2: DropPath;

  constructor(width: number, heads: number, inner: number, dropPath: number) {
    super();
    this.norm1 = new LayerNorm(width, EPS);
    this.attn = new VisionAttention(width, heads);
    this.drop_path = new DropPath(dropPath);
    this.norm2 = new LayerNorm(width, EPS);
    this.mlp = new VisionMlp(width, inner);
    // A module of its own, so that both branches are dropped independently.
    this.drop_path2 = new DropPath(dropPath);
  }

  protected override compute(x: Tensor): Tensor {
    const looked = x.add(this.drop_path.forward(this.attn.forward(this.norm1.forward(x))));
    return looked.add(this.drop_path2.forward(this.mlp.forward(this.norm2.forward(looked))));
  }
}

/** image: [B, 3, S, S] normalised, S = image_size → all tokens after the final norm in the weights' dtype, [B, 1 + patches, embed_dim], the first being CLS. */
export class VisionTransformer extends Module<[image: Tensor], Tensor> {
  readonly config: VisionConfig;
  readonly cls_token: ParameterSlot;
  readonly pos_embed: ParameterSlot;
  readonly patch_embed: PatchEmbed;
  readonly blocks: readonly VisionBlock[];
  readonly norm: LayerNorm;

  constructor(config: VisionConfig) {
    super();
    const { image_size, patch_size, embed_dim: width, depth, num_heads, mlp_ratio, drop_path_rate } = config;
    const patches = (image_size / patch_size) ** 2;
    this.config = config;
    this.cls_token = new ParameterSlot([1, 1, width], normalInit(STD));
    this.pos_embed = new ParameterSlot([1, patches + 1, width], normalInit(STD));
    this.patch_embed = new PatchEmbed(patch_size, width);
    this.blocks = Array.from({ length: depth }, (_, i) => {
      const dropPath = depth > 1 ? (drop_path_rate * i) / (depth - 1) : 0;
      return new VisionBlock(width, num_heads, Math.round(width * mlp_ratio), dropPath);
    });
    this.norm = new LayerNorm(width, EPS);
  }

  protected override compute(image: Tensor): Tensor {
    const { image_size: size, embed_dim: width } = this.config;
    if (image.rank !== 4 || image.shape[1] !== 3 || image.shape[2] !== size || image.shape[3] !== size) {
      throw new ShapeError("VisionTransformer", [image.shape], `the image must be [B, 3, ${size}, ${size}]`);
    }
    const cls = this.cls_token.value.expand(image.shape[0]!, 1, width);
    const x = cat([cls, this.patch_embed.forward(image.to(cls.dtype))], 1).add(this.pos_embed.value);
    const { qkv } = this.blocks[0]!.attn;
    const widest = Math.max(qkv.outFeatures, this.blocks[0]!.mlp.fc1.outFeatures);
    const run = (part: Tensor) => this.blocks.reduce((hidden, block) => this.part(block, hidden), part);
    return this.norm.forward(inParts([x], x.shape[1]! * widest, run));
  }
}
