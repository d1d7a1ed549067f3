/** Schema pieces that several commands' configs share. */
import { TUNE_MODES } from "@refl/tensor";
import * as v from "valibot";
import { INTERVAL_KINDS } from "../evaluate/intervals.ts";

/** A whole number of at least 1. */
export const count = (description: string) =>
  v.pipe(v.number(), v.integer(), v.minValue(1), v.description(description));

/** A whole number of at least 0. */
export const whole = (description: string) =>
  v.pipe(v.number(), v.integer(), v.minValue(0), v.description(description));

/** A finite number above 0. */
export const positive = (description: string) =>
  v.pipe(v.number(), v.finite(), v.gtValue(0), v.description(description));

/** A finite number of at least 0. */
export const notNegative = (description: string) =>
  v.pipe(v.number(), v.finite(), v.minValue(0), v.description(description));

/** A number from 0 to 1. */
export const share = (description: string) =>
  v.pipe(v.number(), v.minValue(0), v.maxValue(1), v.description(description));

/** A text with at least one character. */
export const text = (description: string) => v.pipe(v.string(), v.nonEmpty(), v.description(description));

/** Yes or no. */
export const flag = (description: string) => v.pipe(v.boolean(), v.description(description));

/** One of some names. */
export const choice = <const Names extends readonly [string, ...string[]]>(names: Names, description: string) =>
  v.pipe(v.picklist(names), v.description(description));

/** The picture worlds that ship with the project. */
export const TASK_NAMES = ["emoji32", "shapes16"] as const;

/** The name of a shipped picture world. */
export type TaskName = (typeof TASK_NAMES)[number];

/** The annotator's tastes that ship with the project. */
export const TASTE_NAMES = ["judge", "small-objects", "blue-backgrounds", "washed-out", "left-side"] as const;

/** The name of a shipped taste. */
export type TasteName = (typeof TASTE_NAMES)[number];

/** Where a run is written. */
export const runEntries = (name: string) => ({
  name: v.optional(text("Name of the run; its folder is <out>/<name>-<n> with the first free n"), name),
  out: v.optional(text("Folder that holds the runs"), "runs"),
});

/** What a run works on, and its seed. */
export const taskEntries = {
  task: v.optional(
    choice(TASK_NAMES, "Picture world; it also chooses the size of the models and the defaults"),
    "emoji32",
  ),
  seed: v.optional(v.pipe(whole("Seed of everything random in the run"), v.maxValue(0xffff_ffff)), 0),
};

/** Own pictures instead of the task's. */
export const dataEntry = {
  data: v.optional(text("Folder of own pictures with captions.jsonl, used instead of the task's pictures")),
};

/** What a text-to-image model in a single file needs beside it. */
export const modelFileEntries = {
  tokenizer: v.optional(
    text("Tokenizer of a model in a single file: a folder with vocab.json and merges.txt, or CLIP's list of merges"),
  ),
  modelConfig: v.optional(
    text("Diffusers folder whose configs say a single file's sizes; without it those of Stable Diffusion 1"),
  ),
};

/** LoRA files that are merged into a model when it is opened. */
export const loraFilesEntry = (description: string) =>
  v.optional(v.pipe(v.array(v.string()), v.description(description)), []);

/** How often a run saves, and how much it keeps. */
export const checkpointEntries = (saveEvery: number) => ({
  saveEvery: v.optional(count("Steps between checkpoints"), saveEvery),
  keepCheckpoints: v.optional(count("Checkpoints to keep; the best one is kept besides"), 3),
});

/** How often a run shows pictures. */
export const sampleEveryEntry = (sampleEvery: number) => ({
  sampleEvery: v.optional(count("Steps between sample grids (fixed prompts, fixed seeds, EMA weights)"), sampleEvery),
});

/** Learning rate over the steps. */
export const LR_SCHEDULES = ["cosine", "constant"] as const;

/** AdamW and the learning rate's course. */
export const optimizerEntries = (
  lr: number,
  lrSchedule: (typeof LR_SCHEDULES)[number],
  warmupSteps: number,
  weightDecay = 0.01,
) => ({
  lr: v.optional(positive("Highest learning rate of AdamW"), lr),
  lrSchedule: v.optional(choice(LR_SCHEDULES, "Course of the learning rate after the warm-up"), lrSchedule),
  warmupSteps: v.optional(whole("Steps in which the learning rate rises from 0"), warmupSteps),
  weightDecay: v.optional(notNegative("Decoupled weight decay of AdamW"), weightDecay),
  gradientClip: v.optional(positive("Largest global norm of the gradient"), 1),
});

/** What models are computed in. */
export const PRECISIONS = ["f32", "f16"] as const;

/** In what numbers a training computes. */
export const precisionEntry = {
  precision: v.optional(
    choice(PRECISIONS, "What models compute and keep activations in; `f16` is mixed precision with a scaled loss"),
    "f32",
  ),
};

/** How kernels are chosen. */
export const tuneEntry = {
  tune: v.optional(
    choice(
      TUNE_MODES,
      "Which kernels compute: `off` the standard ones, with the same bits every time; `cached` those found fastest before; `online` measures what is new",
    ),
    "off",
  ),
};

/** Exponential moving average of the weights; null trains without one. */
export const emaEntry = (decay: number) => ({
  ema: v.optional(
    v.nullable(
      v.strictObject({
        decay: v.optional(
          v.pipe(
            v.number(),
            v.minValue(0),
            v.ltValue(1),
            v.description("Largest decay of the moving average of the weights; it warms up as (1 + s) / (10 + s)"),
          ),
          decay,
        ),
      }),
    ),
    {},
  ),
});

/** How pictures are drawn from a model. */
export const SAMPLERS = ["ddim", "ddpm"] as const;

/** Sampler, steps and guidance. */
export const samplerEntries = {
  sampler: v.optional(choice(SAMPLERS, "Sampler"), "ddim"),
  samplerSteps: v.optional(count("Steps of the sampler"), 10),
  guidance: v.optional(positive("Classifier-free guidance scale; 1 means none"), 1),
};

/** Confidence intervals of what evaluations measure. */
export const intervalEntries = {
  confidence: v.optional(
    v.pipe(
      v.number(),
      v.gtValue(0),
      v.ltValue(1),
      v.description("Share of the confidence intervals that hold the true value"),
    ),
    0.95,
  ),
  interval: v.optional(
    choice(INTERVAL_KINDS, "How intervals are found: standard error over prompts, or resampled prompts"),
    "normal",
  ),
  resamples: v.optional(count("Resamples of the bootstrap"), 1000),
};
