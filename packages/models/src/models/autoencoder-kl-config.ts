/** `vae/config.json`: the fields of diffusers' `AutoencoderKL` with its defaults. */
import { DataError } from "@refl/tensor";
import * as v from "valibot";
import { isBookkeepingKey, parseConfig } from "../formats/config.ts";
import { isJsonObject } from "../formats/json.ts";
import { activationNamed } from "../nn/activation.ts";
import { checkNeutral, count } from "./fields.ts";

const schema = v.strictObject({
  in_channels: v.optional(count, 3),
  out_channels: v.optional(count, 3),
  down_block_types: v.optional(v.array(v.literal("DownEncoderBlock2D")), ["DownEncoderBlock2D"]),
  up_block_types: v.optional(v.array(v.literal("UpDecoderBlock2D")), ["UpDecoderBlock2D"]),
  block_out_channels: v.optional(v.array(count), [64]),
  layers_per_block: v.optional(count, 1),
  act_fn: v.optional(v.string(), "silu"),
  latent_channels: v.optional(count, 4),
  norm_num_groups: v.optional(count, 32),
  sample_size: v.optional(v.union([count, v.tuple([count, count])]), 32),
  /** Latents of the diffusion model are the encoder's times this. */
  scaling_factor: v.optional(v.pipe(v.number(), v.finite(), v.gtValue(0)), 0.18215),
  use_quant_conv: v.optional(v.boolean(), true),
  use_post_quant_conv: v.optional(v.boolean(), true),
  mid_block_add_attention: v.optional(v.boolean(), true),
});

export type AutoencoderKLConfig = v.InferOutput<typeof schema>;

/** Fields of diffusers at the values where they change nothing; all arithmetic here is f32, so `force_upcast` may be either. */
const NEUTRAL: Readonly<Record<string, readonly unknown[]>> = {
  shift_factor: [null],
  latents_mean: [null],
  latents_std: [null],
  force_upcast: [true, false],
};

/** @throws DataError naming file and field. */
export function parseAutoencoderKLConfig(value: unknown, file = "config.json"): AutoencoderKLConfig {
  if (isJsonObject(value)) checkNeutral(value, NEUTRAL, file);
  const config = parseConfig(schema, value, file, (key) => isBookkeepingKey(key) || Object.hasOwn(NEUTRAL, key));
  const blocks = config.block_out_channels.length;
  for (const field of ["down_block_types", "up_block_types"] as const) {
    const { length } = config[field];
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

/** The autoencoder of Stable Diffusion 1: 83,653,863 parameters in 248 tensors. */
export const SD1_VAE_CONFIG = {
  in_channels: 3,
  out_channels: 3,
  down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
  up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
  block_out_channels: [128, 256, 512, 512],
  layers_per_block: 2,
  act_fn: "silu",
  latent_channels: 4,
  norm_num_groups: 32,
  sample_size: 512,
  scaling_factor: 0.18215,
} as const;
