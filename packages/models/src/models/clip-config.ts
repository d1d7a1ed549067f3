/** CLIP's `config.json`: the fields of transformers' `CLIPConfig` that matter here, with its defaults. */
import { DataError } from "@refl/tensor";
import * as v from "valibot";
import { isBookkeepingKey, parseConfig } from "../formats/config.ts";
import { isJsonObject } from "../formats/json.ts";
import { activationNamed } from "../nn/activation.ts";
import { CLIP_IGNORED, type CLIPTextConfig, parseCLIPTextConfig } from "./clip-text-config.ts";
import { checkNeutral, count, epsilon, probability } from "./fields.ts";

const visionSchema = v.strictObject({
  hidden_size: v.optional(count, 768),
  intermediate_size: v.optional(count, 3072),
  num_hidden_layers: v.optional(count, 12),
  num_attention_heads: v.optional(count, 12),
  num_channels: v.optional(count, 3),
  image_size: v.optional(count, 224),
  patch_size: v.optional(count, 32),
  hidden_act: v.optional(v.string(), "quick_gelu"),
  layer_norm_eps: v.optional(epsilon, 1e-5),
  attention_dropout: v.optional(probability, 0),
});

export type CLIPVisionConfig = v.InferOutput<typeof visionSchema>;

const schema = v.strictObject({
  projection_dim: v.optional(count, 512),
  logit_scale_init_value: v.optional(v.pipe(v.number(), v.finite()), 2.6592),
});

export interface CLIPConfig extends v.InferOutput<typeof schema> {
  readonly text_config: CLIPTextConfig;
  readonly vision_config: CLIPVisionConfig;
}

const VISION_NEUTRAL: Readonly<Record<string, readonly unknown[]>> = {
  dropout: [0],
  is_decoder: [false],
  add_cross_attention: [false],
  model_type: ["clip_vision_model"],
};

/** Old configs hold each tower's twice; transformers prefers these where they are. */
const TOWERS = { text: ["text_config_dict", "text_config"], vision: ["vision_config_dict", "vision_config"] } as const;

function parseVision(value: unknown, file: string): CLIPVisionConfig {
  if (isJsonObject(value)) checkNeutral(value, VISION_NEUTRAL, file);
  const ignored = (key: string) => isBookkeepingKey(key) || CLIP_IGNORED.has(key) || Object.hasOwn(VISION_NEUTRAL, key);
  const config = parseConfig(visionSchema, value, file, ignored);
  const { hidden_size: width, num_attention_heads: heads, image_size: size, patch_size: patch } = config;
  if (width % heads)
    throw new DataError(file, 0, "num_attention_heads", `${heads} heads do not divide a hidden_size of ${width}`);
  if (size % patch) throw new DataError(file, 0, "patch_size", `${patch} does not divide image_size ${size}`);
  activationNamed(config.hidden_act, file, "hidden_act");
  return config;
}

/** @throws DataError naming file and field. */
export function parseCLIPConfig(value: unknown, file = "config.json"): CLIPConfig {
  const given = isJsonObject(value) ? value : {};
  checkNeutral(given, { model_type: ["clip"] }, file);
  const towers = Object.values(TOWERS).flat() as string[];
  const ignored = (key: string) =>
    !Object.hasOwn(schema.entries, key) &&
    (isBookkeepingKey(key) || CLIP_IGNORED.has(key) || key === "model_type" || towers.includes(key));
  const own = parseConfig(schema, value, file, ignored);
  const tower = (names: readonly string[]): Record<string, unknown> =>
    Object.assign({}, ...names.toReversed().map((name) => given[name] ?? {}));
  return {
    ...own,
    text_config: parseCLIPTextConfig(tower(TOWERS.text), `${file}: text_config`),
    vision_config: parseVision(tower(TOWERS.vision), `${file}: vision_config`),
  };
}

/** openai/clip-vit-large-patch14: both towers of ViT-L/14, 427,616,513 parameters. */
export const CLIP_VIT_L_14_CONFIG = {
  projection_dim: 768,
  text_config: {
    vocab_size: 49408,
    hidden_size: 768,
    intermediate_size: 3072,
    num_hidden_layers: 12,
    num_attention_heads: 12,
    max_position_embeddings: 77,
    eos_token_id: 2,
  },
  vision_config: {
    hidden_size: 1024,
    intermediate_size: 4096,
    num_hidden_layers: 24,
    num_attention_heads: 16,
    image_size: 224,
    patch_size: 14,
  },
} as const;
