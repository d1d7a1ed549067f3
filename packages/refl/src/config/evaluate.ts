/** The config of `eval`: the judge's view of a model's pictures for held-out prompts. */
import * as v from "valibot";
import {
  choice,
  count,
  intervalEntries,
  loraFilesEntry,
  modelFileEntries,
  samplerEntries,
  TASTE_NAMES,
  taskEntries,
  text,
  tuneEntry,
} from "./fields.ts";
import type { ConfigDefinition } from "./resolve.ts";

/** Schema of the config of `eval`. */
export const EvaluateSchema = v.strictObject({
  task: taskEntries.task,
  model: v.optional(text("Model folder, or a Stable Diffusion 1 file; the task's shipped base model when absent")),
  ...modelFileEntries,
  lora: loraFilesEntry("LoRA file, merged into the model as FILE or FILE:scale; may be given often"),
  reward: v.optional(text("Folder of a reward model; its mean reward is then told beside the judge's score")),
  taste: v.optional(choice(TASTE_NAMES, "The taste that the judge's score follows"), "judge"),
  pictures: v.optional(
    count("Pictures of seen prompts, as many of unseen ones, and as many of an unused word order"),
    128,
  ),
  ...samplerEntries,
  ...tuneEntry,
  bestOf: v.optional(
    count("Pictures drawn for each prompt, of which the reward model chooses the one that is judged"),
    1,
  ),
  ...intervalEntries,
  out: v.optional(text("JSON file for the result")),
});

/** The resolved config of `eval`. */
export type EvaluateConfig = v.InferOutput<typeof EvaluateSchema>;

/** `eval`. */
export const evaluateConfig: ConfigDefinition<typeof EvaluateSchema> = {
  command: "eval",
  schema: EvaluateSchema,
};
