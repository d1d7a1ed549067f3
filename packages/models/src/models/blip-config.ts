/** Configs of BLIP and of the reward model on it. */
import { DataError } from "@refl/tensor";
import * as v from "valibot";
import { parseConfig } from "../formats/config.ts";
import { activationNamed } from "../nn/activation.ts";
import { textSchema } from "./bert.ts";
import { count, probability } from "./fields.ts";
import { visionSchema } from "./vit.ts";

const triple = v.tuple([v.number(), v.number(), v.number()]);

const blipEntries = {
  vision: visionSchema,
  text: textSchema,
  /** Width of the contrastive features. */
  embed_dim: v.optional(count, 256),
  /** Mean and deviation of the colours that the vision tower expects, CLIP's by default. */
  image_mean: v.optional(triple, [0.48145466, 0.4578275, 0.40821073]),
  image_std: v.optional(triple, [0.26862954, 0.26130258, 0.27577711]),
  /** Tokens that texts are padded and cut to. */
  max_length: v.optional(count, 35),
};

const blipSchema = v.strictObject(blipEntries);

const rewardSchema = v.strictObject({
  ...blipEntries,
  /** Output widths of the head's linear layers; the last is 1. */
  head: v.optional(v.array(count), [1024, 128, 64, 16, 1]),
  /** Dropout after the first, second and third of them. */
  head_dropout: v.optional(v.tuple([probability, probability, probability]), [0.2, 0.2, 0.1]),
  /** The reward is (raw − mean) / std. */
  mean: v.optional(v.pipe(v.number(), v.finite()), 0),
  std: v.optional(v.pipe(v.number(), v.finite(), v.gtValue(0)), 1),
});

export type BlipConfig = v.InferOutput<typeof blipSchema>;
export type BlipRewardConfig = v.InferOutput<typeof rewardSchema>;

function checkBlip(config: BlipConfig, file: string): void {
  const { vision, text } = config;
  const fail = (field: string, message: string): never => {
    throw new DataError(file, 0, field, message);
  };
  if (vision.image_size % vision.patch_size)
    fail("vision.patch_size", `does not divide image_size ${vision.image_size}`);
  if (vision.embed_dim % vision.num_heads) fail("vision.num_heads", `does not divide embed_dim ${vision.embed_dim}`);
  if (text.hidden_size % text.num_attention_heads) {
    fail("text.num_attention_heads", `does not divide hidden_size ${text.hidden_size}`);
  }
  if (config.max_length > text.max_position_embeddings) {
    fail("max_length", `${config.max_length} tokens, text.max_position_embeddings is ${text.max_position_embeddings}`);
  }
  activationNamed(text.hidden_act, file, "text.hidden_act");
}

/** @throws DataError naming file and field. */
export function parseBlipConfig(value: unknown, file = "config.json"): BlipConfig {
  const config = parseConfig(blipSchema, value, file);
  checkBlip(config, file);
  return config;
}

/** @throws DataError naming file and field. */
export function parseBlipRewardConfig(value: unknown, file = "config.json"): BlipRewardConfig {
  const config = parseConfig(rewardSchema, value, file);
  checkBlip(config, file);
  if (config.head.at(-1) !== 1) throw new DataError(file, 0, "head", "must end in 1, the reward");
  return config;
}

/** The released ImageReward model (arXiv 2304.05977): ViT-L/16 and BERT-base. */
export const IMAGE_REWARD_CONFIG = {
  vision: { image_size: 224, patch_size: 16, embed_dim: 1024, depth: 24, num_heads: 16, drop_path_rate: 0.1 },
  text: {
    vocab_size: 30524,
    hidden_size: 768,
    num_hidden_layers: 12,
    num_attention_heads: 12,
    intermediate_size: 3072,
    max_position_embeddings: 512,
    hidden_act: "gelu",
    layer_norm_eps: 1e-12,
    hidden_dropout_prob: 0.1,
  },
  embed_dim: 256,
  head: [1024, 128, 64, 16, 1],
  mean: 0.16717362830052426,
  std: 1.0333394966054072,
} as const;
