/** The config of `train refl`: fine-tuning a text-to-image model by the reward's gradient. */
import * as v from "valibot";
import {
  checkpointEntries,
  choice,
  count,
  dataEntry,
  emaEntry,
  flag,
  loraFilesEntry,
  modelFileEntries,
  notNegative,
  optimizerEntries,
  positive,
  precisionEntry,
  runEntries,
  sampleEveryEntry,
  samplerEntries,
  share,
  TASTE_NAMES,
  taskEntries,
  text,
  tuneEntry,
} from "./fields.ts";
import type { ConfigDefinition } from "./resolve.ts";
import { LOSS_WEIGHTINGS } from "./train-base.ts";

/** `paper`: reward loss and pre-training loss in turn (arXiv 2304.05977, algorithm 1); `repository`: the reward loss alone, as its published code. */
export const REFL_VARIANTS = ["paper", "repository"] as const;

/** Learning rates that the small models are tuned at: low-rank adapters start from zero, weights from where pre-training left them. */
const LORA_RATE = 2e-3;
const FULL_RATE = 2e-5;

/** The entries that the demo shares with `train refl`. */
export const reflTrainingEntries = {
  steps: v.optional(count("Optimiser steps in total; a resumed run counts on up to it"), 80),
  batchSize: v.optional(count("Pictures per step that the reward model scores"), 16),
  pretrainingBatchSize: v.optional(
    count("Pictures per step of the base model's own data, for the pre-training loss"),
    8,
  ),
  variant: v.optional(choice(REFL_VARIANTS, "`paper` has the pre-training loss, `repository` leaves it out"), "paper"),
  lambda: v.optional(notNegative("Weight of the reward loss relu(2 - r)"), 0.2),
  pretrainingWeight: v.optional(notNegative("Weight of the pre-training loss"), 3),
  timestepShift: v.optional(positive("Shift of the pre-training loss's times towards noise, as the base model's"), 3),
  lossWeighting: v.optional(
    choice(LOSS_WEIGHTINGS, "Weighting of the pre-training loss, as the base model's"),
    "inverse-variance",
  ),
  minSnrGamma: v.optional(positive("Gamma of the min-snr weighting"), 5),
  rewardNoise: v.optional(
    share("Largest share of noise mixed into the pictures that the reward model sees, as in its own training"),
    0.3,
  ),
  window: v.optional(count("The graded step is drawn from the last so many steps of the sampler"), 4),
  ...optimizerEntries(LORA_RATE, "constant", 0),
  ...emaEntry(0.9999),
  lora: v.optional(
    v.nullable(
      v.strictObject({
        rank: v.optional(count("Rank of the low-rank adapters on the attention's linear layers"), 8),
      }),
    ),
    {},
  ),
  earlyStop: v.optional(
    v.nullable(
      v.strictObject({
        everySteps: v.optional(count("Steps between the judge's looks at pictures of validation prompts"), 20),
        patience: v.optional(count("Looks without a better score after which training stops"), 2),
      }),
    ),
    {},
  ),
};

const ReflTrainingSchema = v.strictObject(reflTrainingEntries);

/** The resolved values of {@link reflTrainingEntries}. */
export type ReflTrainingConfig = v.InferOutput<typeof ReflTrainingSchema>;

/** Schema of the config of `train refl`. */
export const TrainReflSchema = v.strictObject({
  ...runEntries("refl"),
  ...taskEntries,
  ...dataEntry,
  base: v.optional(
    text("Model folder to fine-tune, or a Stable Diffusion 1 file; the task's shipped base model when absent"),
  ),
  ...modelFileEntries,
  baseLora: loraFilesEntry(
    "LoRA file, merged into the model before training as FILE or FILE:scale; may be given often",
  ),
  reward: text("Folder of the reward model, as `train reward` left it"),
  taste: v.optional(choice(TASTE_NAMES, "The taste by which the judge's early stop looks"), "judge"),
  ...reflTrainingEntries,
  ...precisionEntry,
  ...tuneEntry,
  control: v.optional(flag("Train the control arm (lambda 0, same data, same steps) beside it"), true),
  ...samplerEntries,
  ...checkpointEntries(25),
  ...sampleEveryEntry(25),
});

/** The resolved config of `train refl`. */
export type TrainReflConfig = v.InferOutput<typeof TrainReflSchema>;

/** ReFL's own defaults for a task, and for all weights instead of adapters. */
export function reflPreset(task: unknown, lora: unknown) {
  return {
    ...(task === "shapes16" ? { steps: 40, pretrainingBatchSize: 16, lr: 1e-3 } : {}),
    ...(lora === null ? { lr: FULL_RATE } : {}),
  };
}

/** `train refl` with its presets. */
export const trainReflConfig: ConfigDefinition<typeof TrainReflSchema> = {
  command: "train refl",
  schema: TrainReflSchema,
  preset: ({ task, lora }) => reflPreset(task, lora),
};
