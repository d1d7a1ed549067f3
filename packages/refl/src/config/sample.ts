/** The config of `sample`: drawing pictures for prompts. */
import * as v from "valibot";
import type { ImageParameters, SampleRecord } from "../io/parameters.ts";
import { choice, count, samplerEntries, TASK_NAMES, text, whole } from "./fields.ts";
import type { ConfigDefinition } from "./resolve.ts";
import { type ConfigSource, plainSource } from "./source.ts";

/** Schema of the config of `sample`. */
export const SampleSchema = v.strictObject({
  task: v.optional(choice(TASK_NAMES, "Whose shipped base model draws when no model is given"), "emoji32"),
  model: v.optional(text("Model folder (diffusers layout)")),
  prompts: v.optional(v.pipe(v.array(v.string()), v.description("Prompts, each drawn `count` times")), []),
  negativePrompt: v.optional(text("What the pictures should not show; needs a guidance above 1")),
  count: v.optional(count("Pictures per prompt"), 4),
  seed: v.optional(v.pipe(whole("Seed of the noise"), v.maxValue(0xffff_ffff)), 0),
  index: v.optional(
    whole("Number of the first picture: picture k of a prompt takes its noise from (seed, index + k)"),
    0,
  ),
  ...samplerEntries,
  out: v.optional(text("Folder for the PNG files"), "pictures"),
});

/** The resolved config of `sample`. */
export type SampleConfig = v.InferOutput<typeof SampleSchema>;

/** `sample`. */
export const sampleConfig: ConfigDefinition<typeof SampleSchema> = {
  command: "sample",
  schema: SampleSchema,
};

/** A record names a shipped model by its task, any other by its folder. */
function modelOf({ model }: SampleRecord): { readonly task: string } | { readonly model: string } {
  return (TASK_NAMES as readonly string[]).includes(model) ? { task: model } : { model };
}

/**
 * The values that draw the picture again whose parameters these are, as a layer under the user's own. Another tool's model name is left
 * out: it names no folder of ours.
 */
export function sampleSource(parameters: SampleRecord | ImageParameters, file: string): ConfigSource {
  const { prompt, steps, sampler, guidance, seed, negativePrompt } = parameters;
  const own = "version" in parameters ? { ...modelOf(parameters), index: parameters.index } : {};
  const values = { negativePrompt, samplerSteps: steps, sampler, guidance, seed, ...own };
  const told = Object.entries(values).filter(([, value]) => value !== undefined);
  return plainSource({ prompts: [prompt], count: 1, ...Object.fromEntries(told) }, file);
}
