/** Scheduler settings under the field names of diffusers' `scheduler_config.json`, with diffusers' defaults. */
import { DataError } from "@refl/tensor";
import * as v from "valibot";
import { isBookkeepingKey, parseConfig } from "../formats/config.ts";

const positiveInteger = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1_000_000));
const openUnit = v.pipe(v.number(), v.gtValue(0), v.ltValue(1));

const commonEntries = {
  num_train_timesteps: v.optional(positiveInteger, 1000),
  beta_start: v.optional(openUnit, 0.0001),
  beta_end: v.optional(openUnit, 0.02),
  beta_schedule: v.optional(v.picklist(["linear", "scaled_linear", "squaredcos_cap_v2"]), "linear"),
  trained_betas: v.optional(v.nullable(v.array(openUnit)), null),
  clip_sample: v.optional(v.boolean(), true),
  clip_sample_range: v.optional(v.pipe(v.number(), v.finite(), v.gtValue(0)), 1),
  prediction_type: v.optional(v.picklist(["epsilon", "v_prediction", "sample"]), "epsilon"),
  timestep_spacing: v.optional(v.picklist(["leading", "trailing", "linspace"]), "leading"),
  steps_offset: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(1_000_000)), 0),
};

/** Betas rescaled so that the last time is noise alone (arXiv 2305.08891, algorithm 1). */
const zeroSnr = { rescale_betas_zero_snr: v.optional(v.boolean(), false) };

const ddpmSchema = v.strictObject({
  ...commonEntries,
  ...zeroSnr,
  variance_type: v.optional(v.picklist(["fixed_small", "fixed_small_log", "fixed_large"]), "fixed_small"),
});

const ddimSchema = v.strictObject({
  ...commonEntries,
  ...zeroSnr,
  set_alpha_to_one: v.optional(v.boolean(), true),
});

const pndmSchema = v.strictObject({
  ...commonEntries,
  prediction_type: v.optional(v.picklist(["epsilon", "v_prediction"]), "epsilon"),
  set_alpha_to_one: v.optional(v.boolean(), false),
  skip_prk_steps: v.optional(v.boolean(), false),
});

export type DDPMSchedulerConfig = v.InferOutput<typeof ddpmSchema>;
export type DDIMSchedulerConfig = v.InferOutput<typeof ddimSchema>;
/** `clip_sample` and `clip_sample_range` change nothing here: they are for the schedulers that are made from this one's config. */
export type PNDMSchedulerConfig = v.InferOutput<typeof pndmSchema>;
/** The fields that all schedulers have; `rescale_betas_zero_snr` is false where a scheduler has no such field. */
export type NoiseScheduleConfig = Omit<DDPMSchedulerConfig, "variance_type" | "rescale_betas_zero_snr"> & {
  readonly rescale_betas_zero_snr?: boolean;
};
/** What the model's output estimates: the noise, the velocity sqrt(ᾱ)·ε − sqrt(1−ᾱ)·x0, or x0 itself. */
export type PredictionType = NoiseScheduleConfig["prediction_type"];

/** Fields of diffusers that change the result and that a scheduler without them refuses unless they have the value at which they change nothing. */
const REFUSED: Readonly<Record<string, unknown>> = { thresholding: false, rescale_betas_zero_snr: false };

/** Fields that other diffusers schedulers write and that a scheduler without them ignores, so that a config made for one opens in the other. */
const IGNORED = new Set([
  "algorithm_type",
  "dynamic_thresholding_ratio",
  "euler_at_final",
  "final_sigmas_type",
  "interpolation_type",
  "lambda_min_clipped",
  "lower_order_final",
  "sample_max_value",
  "set_alpha_to_one",
  "sigma_max",
  "sigma_min",
  "skip_prk_steps",
  "solver_order",
  "solver_type",
  "timestep_type",
  "use_beta_sigmas",
  "use_exponential_sigmas",
  "use_flow_sigmas",
  "use_karras_sigmas",
  "variance_type",
]);

function parse<const TSchema extends typeof ddpmSchema | typeof ddimSchema | typeof pndmSchema>(
  schema: TSchema,
  value: unknown,
  file: string,
): v.InferOutput<TSchema> {
  if (typeof value === "object" && value !== null) {
    for (const [field, harmless] of Object.entries(REFUSED)) {
      if (Object.hasOwn(schema.entries, field)) continue;
      const found = (value as Record<string, unknown>)[field];
      if (found !== undefined && found !== null && found !== harmless) {
        throw new DataError(
          file,
          0,
          field,
          `${JSON.stringify(found)} is not supported, only ${JSON.stringify(harmless)}`,
        );
      }
    }
  }
  const ignore = (key: string) =>
    isBookkeepingKey(key) || (!Object.hasOwn(schema.entries, key) && (Object.hasOwn(REFUSED, key) || IGNORED.has(key)));
  const config = parseConfig(schema, value, file, ignore);
  const { trained_betas: betas, num_train_timesteps: count } = config as NoiseScheduleConfig;
  if (betas && betas.length !== count) {
    throw new DataError(file, 0, "trained_betas", `has ${betas.length} values, num_train_timesteps is ${count}`);
  }
  return config;
}

/** @throws DataError naming file and field. */
export function parseDDPMConfig(value: unknown, file: string): DDPMSchedulerConfig {
  return parse(ddpmSchema, value, file);
}

/** @throws DataError naming file and field. */
export function parseDDIMConfig(value: unknown, file: string): DDIMSchedulerConfig {
  return parse(ddimSchema, value, file);
}

/** @throws DataError naming file and field. */
export function parsePNDMConfig(value: unknown, file: string): PNDMSchedulerConfig {
  return parse(pndmSchema, value, file);
}
