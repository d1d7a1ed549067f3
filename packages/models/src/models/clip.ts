/** CLIP: both towers, their projections into one space and the learnt temperature (Radford et al. 2021, arXiv 2103.00020), under transformers' names. */
import type { Tensor } from "@refl/tensor";
import type { JsonObject } from "../formats/json.ts";
import { normalInit } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { unitRows } from "../nn/norm.ts";
import { ParameterSlot } from "../nn/slot.ts";
import { type CLIPConfig, parseCLIPConfig } from "./clip-config.ts";
import { CLIPTextTransformer } from "./clip-text.ts";
import { CLIPVisionTransformer } from "./clip-vision.ts";
import { jsonOf } from "./fields.ts";

function projection(inFeatures: number, outFeatures: number): Linear {
  return new Linear(inFeatures, outFeatures, { bias: false, weightInit: normalInit(inFeatures ** -0.5) });
}

function clipConfigJson({ text_config, vision_config, ...rest }: CLIPConfig): JsonObject {
  return jsonOf({
    architectures: ["CLIPModel"],
    model_type: "clip",
    ...rest,
    text_config: { model_type: "clip_text_model", ...text_config },
    vision_config: { model_type: "clip_vision_model", ...vision_config },
  });
}

/**
 * Similarities of pictures and texts. pixels: [N, 3, S, S] normalised with CLIP's mean and deviation, ids: [M, T] i32 →
 * exp(logit_scale) · cosine of every picture with every text, [N, M]. Both are up to the caller to cut to the limits of the towers.
 */
export class CLIPModel extends Module<[pixels: Tensor, ids: Tensor], Tensor> {
  readonly config: CLIPConfig;
  readonly logit_scale: ParameterSlot;
  readonly text_model: CLIPTextTransformer;
  readonly vision_model: CLIPVisionTransformer;
  readonly visual_projection: Linear;
  readonly text_projection: Linear;

  /**
   * @param config fields of `config.json`; those left out take transformers' defaults
   * @throws DataError naming `file` and the field
   */
  constructor(config: unknown = {}, file = "config.json") {
    super();
    const parsed = parseCLIPConfig(config, file);
    this.config = parsed;
    this.logit_scale = new ParameterSlot([], { kind: "constant", value: parsed.logit_scale_init_value });
    this.text_model = new CLIPTextTransformer(parsed.text_config);
    this.vision_model = new CLIPVisionTransformer(parsed.vision_config);
    this.visual_projection = projection(parsed.vision_config.hidden_size, parsed.projection_dim);
    this.text_projection = projection(parsed.text_config.hidden_size, parsed.projection_dim);
  }

  /** `config.json` as transformers reads it. */
  toConfig(): JsonObject {
    return clipConfigJson(this.config);
  }

  /** Projected features, not of unit length. pixels: [B, 3, S, S] → [B, projection_dim]. */
  imageFeatures(pixels: Tensor): Tensor {
    return this.run(() => this.visual_projection.forward(this.vision_model.pooled(this.vision_model.forward(pixels))));
  }

  /** Projected features, not of unit length. ids: [B, T] i32 → [B, projection_dim]. */
  textFeatures(ids: Tensor): Tensor {
    return this.run(() => this.text_projection.forward(this.text_model.pooled(this.text_model.forward(ids), ids)));
  }

  /** Cosine of every image with every text. image: [N, D], text: [M, D], of any length → [N, M]. */
  cosines(image: Tensor, text: Tensor): Tensor {
    return this.run(() => unitRows(image).matmul(unitRows(text).transpose(0, 1)));
  }

  /** exp(logit_scale) times the cosines, [N, M]. */
  logits(image: Tensor, text: Tensor): Tensor {
    return this.run(() => this.cosines(image, text).mul(this.logit_scale.value.exp()));
  }

  protected override compute(pixels: Tensor, ids: Tensor): Tensor {
    return this.logits(this.imageFeatures(pixels), this.textFeatures(ids));
  }
}

/** Keys of a whole CLIP's file that its picture side lacks, for `MatchOptions.ignore`. */
export const CLIP_TEXT_KEYS: readonly RegExp[] = [/^text_model\./, /^text_projection\./, /^logit_scale$/];

/** CLIP's picture side alone, with the keys of the whole. pixels: [B, 3, S, S] normalised → projected features, [B, projection_dim], not of unit length. */
export class CLIPVisionModelWithProjection extends Module<[pixels: Tensor], Tensor> {
  readonly config: CLIPConfig;
  readonly vision_model: CLIPVisionTransformer;
  readonly visual_projection: Linear;

  /**
   * @param config fields of the whole CLIP's `config.json`
   * @throws DataError naming `file` and the field
   */
  constructor(config: unknown = {}, file = "config.json") {
    super();
    const parsed = parseCLIPConfig(config, file);
    this.config = parsed;
    this.vision_model = new CLIPVisionTransformer(parsed.vision_config);
    this.visual_projection = projection(parsed.vision_config.hidden_size, parsed.projection_dim);
  }

  /** The whole CLIP's `config.json`. */
  toConfig(): JsonObject {
    return clipConfigJson(this.config);
  }

  protected override compute(pixels: Tensor): Tensor {
    return this.visual_projection.forward(this.vision_model.pooled(this.vision_model.forward(pixels)));
  }
}
