/** The config of `train base`: training a text-to-image model on captioned pictures. */
import * as v from "valibot";
import {
  checkpointEntries,
  choice,
  count,
  dataEntry,
  emaEntry,
  optimizerEntries,
  positive,
  precisionEntry,
  runEntries,
  sampleEveryEntry,
  samplerEntries,
  taskEntries,
  tuneEntry,
} from "./fields.ts";
import type { ConfigDefinition } from "./resolve.ts";

/** What the UNet is trained to predict: the noise, v (Salimans and Ho 2022), or the clean sample; diffusers' names. */
export const PREDICTION_TYPES = ["epsilon", "v_prediction", "sample"] as const;

/** How the squared error at each time is weighted. */
export const LOSS_WEIGHTINGS = ["uniform", "min-snr", "inverse-variance"] as const;

/** Schema of the config of `train base`. */
export const TrainBaseSchema = v.strictObject({
  ...runEntries("base"),
  ...taskEntries,
  ...dataEntry,
  steps: v.optional(count("Optimiser steps in total; a resumed run counts on up to it"), 3000),
  batchSize: v.optional(count("Pictures per step"), 16),
  ...optimizerEntries(1e-3, "cosine", 100),
  ...emaEntry(0.999),
  ...precisionEntry,
  ...tuneEntry,
  predictionType: v.optional(
    choice(
      PREDICTION_TYPES,
      "What the UNet predicts; small models learn from `sample`, Stable Diffusion uses `epsilon`",
    ),
    "sample",
  ),
  timestepShift: v.optional(
    positive("Shift s of the drawn times towards noise, t' = s t / (1 + (s - 1) t); 1 draws them evenly"),
    3,
  ),
  lossWeighting: v.optional(
    choice(
      LOSS_WEIGHTINGS,
      "Weight of a time's squared error: 1, min(SNR, gamma) under the prediction type, or min(1/(1 - alphaBar), 2), which small models of x0 need",
    ),
    "inverse-variance",
  ),
  minSnrGamma: v.optional(positive("Gamma of the min-snr weighting (Hang et al. 2023)"), 5),
  ...samplerEntries,
  ...checkpointEntries(500),
  ...sampleEveryEntry(500),
});

/** The resolved config of `train base`. */
export type TrainBaseConfig = v.InferOutput<typeof TrainBaseSchema>;

/** `train base` with its presets: `shapes16` is smaller and takes more pictures per step. */
export const trainBaseConfig: ConfigDefinition<typeof TrainBaseSchema> = {
  command: "train base",
  schema: TrainBaseSchema,
  preset: ({ task }) => (task === "shapes16" ? { steps: 2000, batchSize: 32 } : {}),
};
