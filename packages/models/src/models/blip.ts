/** BLIP's encoders with their pre-training heads (Li et al. 2022, arXiv 2201.12086), and the reward model on them (ImageReward, arXiv 2304.05977). */
import type { Tensor } from "@refl/tensor";
import type { JsonObject } from "../formats/json.ts";
import { Dropout } from "../nn/dropout.ts";
import { type Initializer, normalInit, zerosInit } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { unitRows } from "../nn/norm.ts";
import { ParameterSlot } from "../nn/slot.ts";
import { BertModel } from "./bert.ts";
import { type BlipConfig, type BlipRewardConfig, parseBlipConfig, parseBlipRewardConfig } from "./blip-config.ts";
import { jsonOf } from "./fields.ts";
import { ImagePreprocessor } from "./image-preprocessor.ts";
import { VisionTransformer } from "./vit.ts";

/** Image and text features of unit length for the contrastive loss. */
export interface ContrastiveFeatures {
  /** [B, embed_dim] */
  readonly image: Tensor;
  /** [B, embed_dim] */
  readonly text: Tensor;
}

/** The encoders alone: what pre-training and the reward model share. Calling it gives the features of (image, text) pairs. */
export class Blip extends Module<[image: Tensor, ids: Tensor, mask: Tensor], Tensor> {
  readonly visual_encoder: VisionTransformer;
  readonly text_encoder: BertModel;
  readonly vision_proj: Linear;
  readonly text_proj: Linear;

  constructor(config: BlipConfig) {
    super();
    const { embed_dim: visionWidth } = config.vision;
    this.visual_encoder = new VisionTransformer(config.vision);
    this.text_encoder = new BertModel(config.text, visionWidth);
    this.vision_proj = new Linear(visionWidth, config.embed_dim);
    this.text_proj = new Linear(config.text.hidden_size, config.embed_dim);
  }

  /** First token of the text looking at the image. image: [B, 3, S, S], ids and mask: [B, T] i32 → [B, hidden_size]. */
  protected override compute(image: Tensor, ids: Tensor, mask: Tensor): Tensor {
    return this.features(this.visual_encoder.forward(image), ids, mask);
  }

  /** As a call, for image tokens [B, tokens, embed_dim] that are already there: one image can be asked with many texts. */
  features(imageTokens: Tensor, ids: Tensor, mask: Tensor): Tensor {
    return this.run(() => this.text_encoder.forward(ids, mask, imageTokens).select(1, 0));
  }

  /** Unit features of images and of texts, each encoded alone, from image tokens [B, tokens, embed_dim], ids and mask [B, T]. */
  itcFeatures(imageTokens: Tensor, ids: Tensor, mask: Tensor): ContrastiveFeatures {
    return this.run(() => ({
      image: unitRows(this.vision_proj.forward(imageTokens.select(1, 0))),
      text: unitRows(this.text_proj.forward(this.text_encoder.forward(ids, mask, null).select(1, 0))),
    }));
  }
}

/**
 * BLIP as it is pre-trained: contrastive features with a learnt temperature, and a matching head. Its file has BLIP's keys, without prefix.
 * Calling it gives the matching logits of (image, text) pairs.
 */
export class BlipPretrainingModel extends Blip {
  readonly config: BlipConfig;
  readonly itm_head: Linear;
  /** Similarities are divided by it; a scalar, 0.07 at first. */
  readonly temp: ParameterSlot;

  /** @throws DataError naming `file` and the field */
  constructor(config: unknown, file = "config.json") {
    const parsed = parseBlipConfig(config, file);
    super(parsed);
    this.config = parsed;
    this.itm_head = new Linear(parsed.text.hidden_size, 2);
    this.temp = new ParameterSlot([], { kind: "constant", value: 0.07 });
  }

  /** `config.json` beside the weights. */
  toConfig(): JsonObject {
    return jsonOf({ _class_name: "BlipPretrainingModel", ...this.config });
  }

  protected override compute(image: Tensor, ids: Tensor, mask: Tensor): Tensor {
    return this.itmLogits(this.visual_encoder.forward(image), ids, mask);
  }

  /** Scores (no match, match) of each pair. imageTokens: [B, tokens, embed_dim], ids and mask: [B, T] → [B, 2]. */
  itmLogits(imageTokens: Tensor, ids: Tensor, mask: Tensor): Tensor {
    return this.run(() => this.itm_head.forward(this.features(imageTokens, ids, mask)));
  }

  /** Similarity of every image with every text over the temperature, [images, texts]. */
  itcLogits({ image, text }: ContrastiveFeatures): Tensor {
    return this.run(() => image.matmul(text.transpose(0, 1)).div(this.temp.value));
  }
}

/**
 * How the reward head begins. `paper`: N(0, 1/(hidden_size + 1)²) in every layer as the original code, which lets the reward's gradient vanish
 * for thousands of steps. `plateau-free`: N(0, 1/fanIn), which keeps the features' scale; the two can represent the same functions.
 */
export type HeadInit = "plateau-free" | "paper";

/** Linear layers without activations between, dropout after the first three. [B, hidden_size] → [B, 1]. */
export class RewardHead extends Module<[features: Tensor], Tensor> {
  readonly layers: readonly (Linear | Dropout)[];

  constructor(width: number, widths: readonly number[], dropout: readonly number[], init: HeadInit) {
    super();
    const layers: (Linear | Dropout)[] = [];
    for (const [i, out] of widths.entries()) {
      const inputs = i === 0 ? width : widths[i - 1]!;
      const std = init === "paper" ? 1 / (width + 1) : 1 / Math.sqrt(inputs);
      const weightInit: Initializer = normalInit(std);
      layers.push(new Linear(inputs, out, { weightInit, biasInit: zerosInit }));
      if (i < dropout.length && i < widths.length - 1) layers.push(new Dropout(dropout[i]!));
    }
    this.layers = layers;
  }

  protected override compute(features: Tensor): Tensor {
    return this.layers.reduce((x, layer) => layer.forward(x), features);
  }
}

export interface BlipRewardOptions {
  /** Default `plateau-free`. */
  readonly headInit?: HeadInit;
}

/**
 * The reward of a picture for a prompt. image: [B, 3, S, S] resized and normalised by `image_mean` and `image_std`, ids and mask: [B, T] i32 (`[CLS]` text
 * `[SEP]`, padded) → [B, 1], (raw − mean) / std.
 */
export class BlipRewardModel extends Module<[image: Tensor, ids: Tensor, mask: Tensor], Tensor> {
  readonly config: BlipRewardConfig;
  /** Mean and deviation that the raw reward is normalised by; part of the saved config. Training sets them from its own data. */
  mean: number;
  std: number;
  readonly blip: Blip;
  readonly mlp: RewardHead;
  readonly preprocessor: ImagePreprocessor;

  /**
   * @param config fields of `config.json`
   * @throws DataError naming `file` and the field
   */
  constructor(config: unknown, file = "config.json", options: BlipRewardOptions = {}) {
    super();
    const parsed = parseBlipRewardConfig(config, file);
    this.config = parsed;
    this.mean = parsed.mean;
    this.std = parsed.std;
    this.blip = new Blip(parsed);
    const { headInit = "plateau-free" } = options;
    this.mlp = new RewardHead(parsed.text.hidden_size, parsed.head, parsed.head_dropout, headInit);
    this.preprocessor = new ImagePreprocessor(parsed.vision.image_size, parsed.image_mean, parsed.image_std);
  }

  /** `config.json` beside the weights, with the present mean and deviation. */
  toConfig(): JsonObject {
    return jsonOf({ _class_name: "BlipRewardModel", ...this.config, mean: this.mean, std: this.std });
  }

  protected override compute(image: Tensor, ids: Tensor, mask: Tensor): Tensor {
    return this.normalise(this.rawReward(this.blip.visual_encoder.forward(image), ids, mask));
  }

  /** The normalised reward, [B, 1]: what calling the model gives. */
  reward(image: Tensor, ids: Tensor, mask: Tensor): Tensor {
    return this.forward(image, ids, mask);
  }

  /** Image tokens [B, tokens, embed_dim] for `rawReward`: encoded once, asked with many prompts. */
  encodeImage(image: Tensor): Tensor {
    return this.blip.visual_encoder.forward(image);
  }

  /** The head's output before normalisation, which training compares. imageTokens: [B, tokens, embed_dim] → [B, 1], f32 whatever the weights' dtype is. */
  rawReward(imageTokens: Tensor, ids: Tensor, mask: Tensor): Tensor {
    return this.run(() => this.mlp.forward(this.blip.features(imageTokens, ids, mask)).to("f32"));
  }

  /** (raw − mean) / std. */
  normalise(raw: Tensor): Tensor {
    return this.run(() => raw.sub(this.mean).div(this.std));
  }

  /** Pictures in [0, 1] as the vision tower takes them, see {@link ImagePreprocessor}. image: [B, 3, H, W] → [B, 3, S, S]. */
  preprocess(image: Tensor): Tensor {
    return this.preprocessor.forward(image);
  }
}
