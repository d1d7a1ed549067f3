/** The config of `demo`: the whole loop from a shipped base model to a report. */
import * as v from "valibot";
import { choice, count, flag, runEntries, samplerEntries, TASTE_NAMES, taskEntries, whole } from "./fields.ts";
import type { ConfigDefinition } from "./resolve.ts";
import { isConfigValues } from "./source.ts";
import { reflPreset, reflTrainingEntries } from "./train-refl.ts";
import { rewardTrainingEntries } from "./train-reward.ts";

/** Schema of the config of `demo`. */
export const DemoSchema = v.strictObject({
  ...runEntries("demo"),
  ...taskEntries,
  taste: v.optional(choice(TASTE_NAMES, "The simulated annotator's taste"), "judge"),
  quick: v.optional(flag("Run the loop on `shapes16` in under two minutes"), false),
  prompts: v.optional(count("Training prompts whose pictures are ranked"), 100),
  foundPrompts: v.optional(
    whole("Further prompts for which pictures like the base model's own data are ranked, some beside the point"),
    100,
  ),
  imagesPerPrompt: v.optional(
    v.pipe(v.number(), v.integer(), v.minValue(2), v.description("Pictures per ranked prompt")),
    4,
  ),
  evaluationPictures: v.optional(count("Pictures per arm of seen prompts, and as many of unseen ones"), 84),
  ...samplerEntries,
  reward: v.optional(v.strictObject(rewardTrainingEntries), {}),
  refl: v.optional(v.strictObject(reflTrainingEntries), {}),
});

/** The resolved config of `demo`. */
export type DemoConfig = v.InferOutput<typeof DemoSchema>;

/** `demo` with its presets; `quick` means `shapes16` unless another task is named. */
export const demoConfig: ConfigDefinition<typeof DemoSchema> = {
  command: "demo",
  schema: DemoSchema,
  preset: ({ task, quick, refl }) => {
    const chosen = task ?? (quick === true ? "shapes16" : "emoji32");
    const lora = isConfigValues(refl) ? refl["lora"] : undefined;
    return { ...(chosen === "shapes16" ? { task: "shapes16" } : {}), refl: reflPreset(chosen, lora) };
  },
};
