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
  whole,
} from "./fields.ts";
import type { ConfigDefinition } from "./resolve.ts";
import type { ConfigValues } from "./source.ts";
import { LOSS_WEIGHTINGS } from "./train-base.ts";

/** `paper`: reward loss and pre-training loss (arXiv 2304.05977, algorithm 1); `repository`: the reward loss alone, as its published code. */
export const REFL_VARIANTS = ["paper", "repository"] as const;

/** Whose values are the defaults. */
export const REFL_PRESETS = ["task", "repository", "repository-lora", "paper"] as const;

/** Learning rates that the small models are tuned at: low-rank adapters start from zero, weights from where pre-training left them. */
const LORA_RATE = 2e-3;
const FULL_RATE = 2e-5;

/** The entries that the demo shares with `train refl`. */
export const reflTrainingEntries = {
  steps: v.optional(count("Optimiser steps in total; a resumed run counts on up to it"), 80),
  batchSize: v.optional(count("Pictures at once that the reward model scores"), 16),
  pretrainingBatchSize: v.optional(
    count("Pictures at once of the base model's own data, for the pre-training loss"),
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

const { task: taskEntry, seed: seedEntry } = taskEntries;

/** Schema of the config of `train refl`. */
export const TrainReflSchema = v.strictObject({
  ...runEntries("refl"),
  task: taskEntry,
  preset: v.optional(
    choice(
      REFL_PRESETS,
      "Whose values are the defaults: `task` those of the small models, `repository` and `repository-lora` those of ImageReward's scripts, `paper` the paper's; without it `repository` where there are own prompts",
    ),
    "task",
  ),
  seed: seedEntry,
  prompts: v.optional(
    text(
      "File of prompts to tune on instead of the task's: one a line, or JSON texts or records with `prompt` or `text`",
    ),
  ),
  validationPrompts: v.optional(
    v.pipe(
      v.array(v.pipe(v.string(), v.nonEmpty())),
      v.description("Prompts of the sample grids; without them the task's, or the first four of the file"),
    ),
    [],
  ),
  ...dataEntry,
  model: v.optional(
    text("Model folder to fine-tune, or a Stable Diffusion 1 file; the task's shipped base model when absent"),
  ),
  ...modelFileEntries,
  modelLora: loraFilesEntry(
    "LoRA file, merged into the model before training as FILE or FILE:scale; may be given often",
  ),
  reward: text("The reward model: a folder as `train reward` left it, or the released ImageReward.pt"),
  rewardTokenizer: v.optional(
    text("Tokenizer of a reward model in a single file: a folder or a vocab.txt; without it the one beside the file"),
  ),
  resolution: v.optional(count("Height and width in pixels of the pictures; without it those of the model")),
  taste: v.optional(choice(TASTE_NAMES, "The taste by which the judge's early stop looks"), "judge"),
  ...reflTrainingEntries,
  gradientAccumulationSteps: v.optional(
    count("Batches of both kinds whose gradients are added up to one optimiser step"),
    1,
  ),
  gradientCheckpointing: v.optional(
    flag("Keep less for the way back and compute it again: less memory, a third more work"),
    false,
  ),
  adamBeta1: v.optional(share("AdamW's decay of the first moment"), 0.9),
  adamBeta2: v.optional(share("AdamW's decay of the second moment"), 0.999),
  adamEpsilon: v.optional(positive("AdamW's addend of the denominator"), 1e-8),
  ...precisionEntry,
  ...tuneEntry,
  control: v.optional(flag("Train the control arm (lambda 0, same data, same steps) beside it"), true),
  ...samplerEntries,
  stepsOffset: v.optional(
    whole(
      "Offset of the sampler's timesteps instead of the model's own: 0 ends at 0, as ImageReward's code ran; 1 at 1",
    ),
  ),
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

/**
 * What both of the authors' recipes have in common: 40 steps of an ancestral sampler whose timesteps end at 0, as the scripts' version of diffusers had them,
 * the graded step among the last ten, no noise on the pictures, no judge to look at them, and half precision.
 */
const STABLE_DIFFUSION = {
  ...{ sampler: "ddpm", samplerSteps: 40, stepsOffset: 0, window: 10, guidance: 7.5 },
  ...{ rewardNoise: 0, timestepShift: 1, lossWeighting: "uniform", pretrainingWeight: 1 },
  ...{ precision: "f16", gradientCheckpointing: true, earlyStop: null, control: false },
  ...{ saveEvery: 100, sampleEvery: 50 },
};

/**
 * `scripts/train_refl.sh` runs eight processes of 2 pictures, four batches to a step; one process takes the 64 pictures of a step in 32 batches.
 * 100 steps are its 6,400 prompts.
 */
const REPOSITORY = {
  ...STABLE_DIFFUSION,
  ...{
    variant: "repository",
    steps: 100,
    batchSize: 2,
    gradientAccumulationSteps: 32,
    lambda: 1e-3,
    lr: 1e-5,
    lora: null,
  },
};

/** The recipes by name (arXiv 2304.05977 and its repository), over which the user's own values lie. */
const PRESETS: Readonly<Record<(typeof REFL_PRESETS)[number], ConfigValues>> = {
  task: {},
  repository: REPOSITORY,
  // The authors' adapters: two processes of one picture, four batches to a step.
  "repository-lora": {
    ...REPOSITORY,
    ...{ batchSize: 1, gradientAccumulationSteps: 8, lambda: 1e-2, lr: 1e-4, lora: { rank: 4 } },
  },
  // 64 pictures of each kind to a step, once through 20,000 prompts.
  paper: { ...REPOSITORY, variant: "paper", pretrainingBatchSize: 2, steps: 313 },
};

/** `train refl` with its presets. */
export const trainReflConfig: ConfigDefinition<typeof TrainReflSchema> = {
  command: "train refl",
  schema: TrainReflSchema,
  preset: ({ task, lora, prompts, preset = prompts === undefined ? "task" : "repository" }) => ({
    preset,
    ...reflPreset(task, lora),
    ...(Object.hasOwn(PRESETS, String(preset)) ? PRESETS[preset as keyof typeof PRESETS] : {}),
    ...(prompts === undefined ? {} : { earlyStop: null }),
  }),
};
