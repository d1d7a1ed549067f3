/** The config of `train reward`: training a reward model on ranked pictures. */
import * as v from "valibot";
import {
  checkpointEntries,
  choice,
  count,
  emaEntry,
  optimizerEntries,
  precisionEntry,
  runEntries,
  samplerEntries,
  share,
  TASTE_NAMES,
  taskEntries,
  text,
  tuneEntry,
  whole,
} from "./fields.ts";
import type { ConfigDefinition } from "./resolve.ts";

/** The entries that the demo shares with `train reward`. */
export const rewardTrainingEntries = {
  epochs: v.optional(count("Passes over the training pairs; a few, as the paper's: more learn the pairs by heart"), 6),
  rankingsPerStep: v.optional(count("Rankings per step; all strict pairs of each count"), 8),
  ...optimizerEntries(2e-3, "cosine", 20, 0.1),
  ...emaEntry(0.9),
  validationShare: v.optional(
    share("Share of the prompts whose pairs are held out to choose the best checkpoint"),
    0.15,
  ),
  noise: v.optional(
    share("Largest share of noise mixed into the training pictures; ReFL asks about blurred one-step pictures"),
    0.5,
  ),
  shift: v.optional(whole("Training pictures move by up to so many pixels each way"), 2),
  fixRate: v.optional(
    share("Share of each encoder's layers, from the first, that stay as pre-training left them; the paper's is 0.7"),
    0.7,
  ),
};

/** Schema of the config of `train reward`. */
export const TrainRewardSchema = v.strictObject({
  ...runEntries("reward"),
  ...taskEntries,
  comparisons: v.optional(
    text(
      "JSON file of ranked pictures (id, prompt, generations, ranking); without it the annotator ranks pictures of the base model",
    ),
  ),
  base: v.optional(text("Model folder that draws the pictures to rank; the task's shipped base model when absent")),
  from: v.optional(text("Model folder of the BLIP that training starts from; the task's shipped one when absent")),
  taste: v.optional(choice(TASTE_NAMES, "The simulated annotator's taste"), "judge"),
  prompts: v.optional(count("Prompts whose pictures the simulated annotator ranks"), 100),
  foundPrompts: v.optional(
    whole("Further prompts for which pictures like the base model's own data are ranked, some beside the point"),
    100,
  ),
  imagesPerPrompt: v.optional(
    v.pipe(v.number(), v.integer(), v.minValue(2), v.description("Pictures per ranked prompt")),
    4,
  ),
  ...rewardTrainingEntries,
  ...precisionEntry,
  ...tuneEntry,
  ...samplerEntries,
  ...checkpointEntries(50),
});

/** The resolved config of `train reward`. */
export type TrainRewardConfig = v.InferOutput<typeof TrainRewardSchema>;

/** `train reward` with its presets. */
export const trainRewardConfig: ConfigDefinition<typeof TrainRewardSchema> = {
  command: "train reward",
  schema: TrainRewardSchema,
  preset: () => ({}),
};
