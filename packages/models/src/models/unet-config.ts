/** `unet/config.json`: the fields of diffusers' `UNet2DConditionModel` with diffusers' defaults. */
import { DataError } from "@refl/tensor";
import * as v from "valibot";
import { isBookkeepingKey, parseConfig } from "../formats/config.ts";
import { isJsonObject } from "../formats/json.ts";
import { activationNamed } from "../nn/activation.ts";
import { checkNeutral, count, epsilon, probability } from "./fields.ts";

const DOWN_BLOCKS = ["DownBlock2D", "CrossAttnDownBlock2D"] as const;
const UP_BLOCKS = ["UpBlock2D", "CrossAttnUpBlock2D"] as const;
const MID_BLOCKS = ["UNetMidBlock2D", "UNetMidBlock2DCrossAttn"] as const;

/** One number for all blocks or one for each. */
const perBlock = v.union([count, v.array(count)]);

const schema = v.strictObject({
  sample_size: v.optional(v.nullable(v.union([count, v.tuple([count, count])])), null),
  in_channels: v.optional(count, 4),
  out_channels: v.optional(count, 4),
  flip_sin_to_cos: v.optional(v.boolean(), true),
  freq_shift: v.optional(v.pipe(v.number(), v.finite()), 0),
  down_block_types: v.optional(v.array(v.picklist(DOWN_BLOCKS)), [
    "CrossAttnDownBlock2D",
    "CrossAttnDownBlock2D",
    "CrossAttnDownBlock2D",
    "DownBlock2D",
  ]),
  mid_block_type: v.optional(v.nullable(v.picklist(MID_BLOCKS)), "UNetMidBlock2DCrossAttn"),
  up_block_types: v.optional(v.array(v.picklist(UP_BLOCKS)), [
    "UpBlock2D",
    "CrossAttnUpBlock2D",
    "CrossAttnUpBlock2D",
    "CrossAttnUpBlock2D",
  ]),
  block_out_channels: v.optional(v.array(count), [320, 640, 1280, 1280]),
  layers_per_block: v.optional(perBlock, 2),
  downsample_padding: v.optional(v.picklist([1]), 1),
  dropout: v.optional(probability, 0),
  act_fn: v.optional(v.string(), "silu"),
  norm_num_groups: v.optional(count, 32),
  norm_eps: v.optional(epsilon, 1e-5),
  cross_attention_dim: v.optional(perBlock, 1280),
  transformer_layers_per_block: v.optional(perBlock, 1),
  attention_head_dim: v.optional(perBlock, 8),
  num_attention_heads: v.optional(v.nullable(perBlock), null),
  use_linear_projection: v.optional(v.boolean(), false),
});

export type UNet2DConditionConfig = v.InferOutput<typeof schema>;

/** Fields of diffusers at the values where they change nothing. All attention here accumulates in f32, so `upcast_attention` may be either. */
const NEUTRAL: Readonly<Record<string, readonly unknown[]>> = {
  addition_embed_type: [null],
  addition_embed_type_num_heads: [64],
  addition_time_embed_dim: [null],
  attention_type: ["default"],
  center_input_sample: [false],
  class_embed_type: [null],
  class_embeddings_concat: [false],
  conv_in_kernel: [3],
  conv_out_kernel: [3],
  cross_attention_norm: [null],
  dual_cross_attention: [false],
  encoder_hid_dim: [null],
  encoder_hid_dim_type: [null],
  mid_block_only_cross_attention: [null, false],
  mid_block_scale_factor: [1],
  num_class_embeds: [null],
  only_cross_attention: [false],
  projection_class_embeddings_input_dim: [null],
  resnet_out_scale_factor: [1],
  resnet_skip_time_act: [false],
  resnet_time_scale_shift: ["default"],
  reverse_transformer_layers_per_block: [null],
  time_cond_proj_dim: [null],
  time_embedding_act_fn: [null],
  time_embedding_dim: [null],
  time_embedding_type: ["positional"],
  timestep_post_act: [null],
  upcast_attention: [false, true, null],
};

/**
 * Checks a config. Unknown keys are errors; keys of diffusers that this model does not have are allowed at the value where they do nothing.
 * @throws DataError naming file and field.
 */
export function parseUNet2DConditionConfig(value: unknown, file = "config.json"): UNet2DConditionConfig {
  if (isJsonObject(value)) checkNeutral(value, NEUTRAL, file);
  const config = parseConfig(schema, value, file, (key) => isBookkeepingKey(key) || Object.hasOwn(NEUTRAL, key));
  const blocks = config.block_out_channels.length;
  const lengths = {
    down_block_types: config.down_block_types.length,
    up_block_types: config.up_block_types.length,
    layers_per_block: config.layers_per_block,
    cross_attention_dim: config.cross_attention_dim,
    transformer_layers_per_block: config.transformer_layers_per_block,
    attention_head_dim: config.attention_head_dim,
    num_attention_heads: config.num_attention_heads,
  };
  for (const [field, given] of Object.entries(lengths)) {
    const length = Array.isArray(given) ? given.length : field.endsWith("types") ? (given as number) : blocks;
    if (length !== blocks)
      throw new DataError(file, 0, field, `has ${length} entries, block_out_channels has ${blocks}`);
  }
  for (const channels of config.block_out_channels) {
    if (channels % config.norm_num_groups) {
      throw new DataError(file, 0, "norm_num_groups", `${config.norm_num_groups} does not divide ${channels} channels`);
    }
  }
  if (activationNamed(config.act_fn, file, "act_fn") !== "silu") {
    throw new DataError(file, 0, "act_fn", `${JSON.stringify(config.act_fn)} is not supported, only "silu"`);
  }
  return config;
}

/** The numbers that one block needs, lists resolved. */
export interface UNetBlockConfig {
  readonly layers: number;
  readonly crossAttentionDim: number;
  readonly transformerLayers: number;
  readonly heads: number;
}

/**
 * The block at position `i` of the way down. `attention_head_dim` is the number of heads where `num_attention_heads` is null: a misnomer of
 * diffusers that all released Stable Diffusion configs depend on.
 */
export function unetBlockConfig(config: UNet2DConditionConfig, i: number): UNetBlockConfig {
  const at = (value: number | readonly number[]): number => (typeof value === "number" ? value : value[i]!);
  return {
    layers: at(config.layers_per_block),
    crossAttentionDim: at(config.cross_attention_dim),
    transformerLayers: at(config.transformer_layers_per_block),
    heads: at(config.num_attention_heads ?? config.attention_head_dim),
  };
}

/** The UNet of Stable Diffusion 1: 859,520,964 parameters in 686 tensors. */
export const SD1_UNET_CONFIG = { sample_size: 64, cross_attention_dim: 768 } as const;
