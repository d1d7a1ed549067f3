/** CLIP's vision tower (Radford et al. 2021, arXiv 2103.00020) under transformers' names. */
import { cat, ShapeError, type Tensor } from "@refl/tensor";
import { Conv2d } from "../nn/conv.ts";
import { Embedding } from "../nn/embedding.ts";
import { normalInit } from "../nn/init.ts";
import { Module } from "../nn/module.ts";
import { LayerNorm } from "../nn/norm.ts";
import { ParameterSlot } from "../nn/slot.ts";
import type { CLIPVisionConfig } from "./clip-config.ts";
import { CLIPEncoder } from "./clip-encoder.ts";

class CLIPVisionEmbeddings extends Module<[pixels: Tensor], Tensor> {
  readonly class_embedding: ParameterSlot;
  readonly patch_embedding: Conv2d;
  readonly position_embedding: Embedding;

  constructor({ hidden_size: width, patch_size, image_size, num_channels }: CLIPVisionConfig) {
    super();
    const options = { stride: patch_size, bias: false, weightInit: normalInit(0.02) };
    this.class_embedding = new ParameterSlot([width], normalInit(width ** -0.5));
    this.patch_embedding = new Conv2d(num_channels, width, patch_size, options);
    this.position_embedding = new Embedding((image_size / patch_size) ** 2 + 1, width, normalInit(0.02));
  }

  /** Patches row by row behind the class token, plus positions. */
  protected override compute(pixels: Tensor): Tensor {
    const patches = this.patch_embedding.forward(pixels).flatten(2).transpose(1, 2);
    const [batch, count, width] = patches.shape as [number, number, number];
    const tokens = cat([this.class_embedding.value.expand(batch, 1, width), patches], 1);
    return tokens.add(this.position_embedding.first(count + 1));
  }
}

/** pixels: [B, 3, S, S] normalised, S = image_size → all tokens, [B, 1 + patches, hidden_size], the class token first, not normalised. */
export class CLIPVisionTransformer extends Module<[pixels: Tensor], Tensor> {
  readonly config: CLIPVisionConfig;
  readonly embeddings: CLIPVisionEmbeddings;
  /** Spelt so in all checkpoints. */
  readonly pre_layrnorm: LayerNorm;
  readonly encoder: CLIPEncoder;
  readonly post_layernorm: LayerNorm;

  constructor(config: CLIPVisionConfig) {
    super();
    this.config = config;
    this.embeddings = new CLIPVisionEmbeddings(config);
    this.pre_layrnorm = new LayerNorm(config.hidden_size, config.layer_norm_eps);
    this.encoder = new CLIPEncoder(config, false);
    this.post_layernorm = new LayerNorm(config.hidden_size, config.layer_norm_eps);
  }

  protected override compute(pixels: Tensor): Tensor {
    const { image_size: size, num_channels: channels } = this.config;
    if (pixels.rank !== 4 || pixels.shape.slice(1).join() !== [channels, size, size].join()) {
      throw new ShapeError("CLIPVisionModel", [pixels.shape], `the image must be [B, ${channels}, ${size}, ${size}]`);
    }
    return this.encoder.forward(this.pre_layrnorm.forward(this.embeddings.forward(pixels)));
  }

  /** The class token after the last norm. tokens: [B, T, hidden_size] → [B, hidden_size]. */
  pooled(tokens: Tensor): Tensor {
    return this.run(() => this.post_layernorm.forward(tokens.select(1, 0)));
  }
}
