/** The config of `eval rankings`: how well a scorer agrees with people's rankings. */
import * as v from "valibot";
import { intervalEntries, text, tuneEntry } from "./fields.ts";
import type { ConfigDefinition } from "./resolve.ts";
import { scorerEntries } from "./score.ts";

/** Schema of the config of `eval rankings`. */
export const EvaluateRankingsSchema = v.strictObject({
  comparisons: text("Rankings of pictures in ImageReward's form, JSON or JSONL"),
  images: v.optional(text("Folder of the pictures that the rankings name; without it the folder of their file")),
  scores: v.optional(text("Scores that were written before, `rewards` by item, instead of scoring the pictures")),
  saveScores: v.optional(text("JSON file for the scores, as `scores` takes them")),
  ...scorerEntries,
  model: v.optional(scorerEntries.model),
  ...tuneEntry,
  ...intervalEntries,
  out: v.optional(text("JSON file for the result")),
});

/** The resolved config of `eval rankings`. */
export type EvaluateRankingsConfig = v.InferOutput<typeof EvaluateRankingsSchema>;

/** `eval rankings`. */
export const evaluateRankingsConfig: ConfigDefinition<typeof EvaluateRankingsSchema> = {
  command: "eval rankings",
  schema: EvaluateRankingsSchema,
};
