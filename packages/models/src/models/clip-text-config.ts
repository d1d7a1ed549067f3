/** `text_encoder/config.json`: the fields of transformers' `CLIPTextConfig` that matter here, with its defaults. */
import { DataError } from "@refl/tensor";
import * as v from "valibot";
import { isBookkeepingKey, parseConfig } from "../formats/config.ts";
import { isJsonObject } from "../formats/json.ts";
import { activationNamed } from "../nn/activation.ts";
import { checkNeutral, count, epsilon, probability } from "./fields.ts";

const tokenId = v.pipe(v.number(), v.integer(), v.minValue(0));

const schema = v.strictObject({
  vocab_size: v.optional(count, 49408),
  hidden_size: v.optional(count, 512),
  intermediate_size: v.optional(count, 2048),
  num_hidden_layers: v.optional(count, 12),
  num_attention_heads: v.optional(count, 8),
  max_position_embeddings: v.optional(count, 77),
  hidden_act: v.optional(v.string(), "quick_gelu"),
  layer_norm_eps: v.optional(epsilon, 1e-5),
  attention_dropout: v.optional(probability, 0),
  bos_token_id: v.optional(v.nullable(tokenId), 49406),
  eos_token_id: v.optional(v.nullable(tokenId), 49407),
  pad_token_id: v.optional(v.nullable(tokenId), 1),
});

export type CLIPTextConfig = v.InferOutput<typeof schema>;

/** What transformers writes into every config and what only other uses of the weights read. */
export const CLIP_IGNORED: ReadonlySet<string> = new Set([
  "architectures",
  "bad_words_ids",
  "begin_suppress_tokens",
  "chunk_size_feed_forward",
  "cross_attention_hidden_size",
  "decoder_start_token_id",
  "diversity_penalty",
  "do_sample",
  "dtype",
  "early_stopping",
  "encoder_no_repeat_ngram_size",
  "exponential_decay_length_penalty",
  "finetuning_task",
  "forced_bos_token_id",
  "forced_eos_token_id",
  "id2label",
  "initializer_factor",
  "initializer_range",
  "is_encoder_decoder",
  "label2id",
  "length_penalty",
  "max_length",
  "min_length",
  "no_repeat_ngram_size",
  "num_beam_groups",
  "num_beams",
  "num_return_sequences",
  "output_attentions",
  "output_hidden_states",
  "output_scores",
  "prefix",
  "problem_type",
  "projection_dim",
  "pruned_heads",
  "remove_invalid_values",
  "repetition_penalty",
  "return_dict",
  "return_dict_in_generate",
  "sep_token_id",
  "suppress_tokens",
  "task_specific_params",
  "temperature",
  "tf_legacy_loss",
  "tie_encoder_decoder",
  "tie_word_embeddings",
  "tokenizer_class",
  "top_k",
  "top_p",
  "torch_dtype",
  "torchscript",
  "transformers_version",
  "typical_p",
  "use_bfloat16",
]);

const NEUTRAL: Readonly<Record<string, readonly unknown[]>> = {
  dropout: [0],
  is_decoder: [false],
  add_cross_attention: [false],
  model_type: ["clip_text_model"],
};

/** @throws DataError naming file and field. */
export function parseCLIPTextConfig(value: unknown, file = "config.json"): CLIPTextConfig {
  if (isJsonObject(value)) checkNeutral(value, NEUTRAL, file);
  const config = parseConfig(
    schema,
    value,
    file,
    (key) => isBookkeepingKey(key) || CLIP_IGNORED.has(key) || Object.hasOwn(NEUTRAL, key),
  );
  if (config.hidden_size % config.num_attention_heads) {
    throw new DataError(
      file,
      0,
      "num_attention_heads",
      `${config.num_attention_heads} heads do not divide a hidden_size of ${config.hidden_size}`,
    );
  }
  activationNamed(config.hidden_act, file, "hidden_act");
  return config;
}

/** The text encoder of Stable Diffusion 1, that of openai/clip-vit-large-patch14: 123,060,480 parameters. */
export const SD1_TEXT_CONFIG = {
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  bos_token_id: 0,
  eos_token_id: 2,
} as const;
