/** The config of `sample`: drawing pictures for prompts. */
import * as v from "valibot";
import type { ImageParameters, SampleRecord } from "../io/parameters.ts";
import {
  choice,
  count,
  loraFilesEntry,
  modelFileEntries,
  positive,
  share,
  TASK_NAMES,
  text,
  tuneEntry,
  whole,
} from "./fields.ts";
import type { ConfigDefinition } from "./resolve.ts";
import { type ConfigSource, plainSource } from "./source.ts";

/** Samplers of pictures; training knows those whose steps stand alone. */
export const PICTURE_SAMPLERS = ["pndm", "ddim", "ddpm"] as const;

/** Where noise comes from. */
export const NOISE_KINDS = ["philox", "torch-cpu"] as const;

/** Schema of the config of `sample`. */
export const SampleSchema = v.strictObject({
  task: v.optional(choice(TASK_NAMES, "Whose shipped base model draws when no model is given"), "emoji32"),
  model: v.optional(text("Model folder (diffusers layout), or a Stable Diffusion 1 file (.ckpt, .safetensors)")),
  ...modelFileEntries,
  lora: loraFilesEntry("LoRA file, merged into the model as FILE or FILE:scale; may be given often"),
  vae: v.optional(text("Folder of another autoencoder than the model's (AutoencoderKL or AutoencoderTiny)")),
  prompts: v.optional(v.pipe(v.array(v.string()), v.description("Prompts, each drawn `count` times")), []),
  negativePrompt: v.optional(text("What the pictures should not show; needs a guidance above 1")),
  count: v.optional(count("Pictures per prompt"), 4),
  seed: v.optional(v.pipe(whole("Seed of the noise"), v.maxValue(0xffff_ffff)), 0),
  index: v.optional(
    whole("Number of the first picture: picture k of a prompt takes its noise from (seed, index + k)"),
    0,
  ),
  noise: v.optional(
    choice(
      NOISE_KINDS,
      "Where noise comes from: this project's streams, or PyTorch's CPU generator with seed + index + k",
    ),
    "philox",
  ),
  sampler: v.optional(choice(PICTURE_SAMPLERS, "Sampler; without it the one that the model's folder names")),
  samplerSteps: v.optional(
    count("Steps of the sampler; without it 50 for Stable Diffusion and 10 for models of pixels"),
  ),
  guidance: v.optional(
    positive(
      "Classifier-free guidance scale, 1 means none; without it 7.5 for Stable Diffusion and 1 for models of pixels",
    ),
  ),
  guidanceRescale: v.optional(
    share("Share of the guided output that is brought back to the deviation of the unguided one"),
    0,
  ),
  eta: v.optional(share("Share of DDPM's noise that a DDIM step adds"), 0),
  width: v.optional(count("Pixels; without it those of the model, or of the picture to begin with")),
  height: v.optional(count("Pixels; without it those of the model, or of the picture to begin with")),
  initImage: v.optional(text("Picture to begin with instead of noise alone")),
  strength: v.optional(
    v.pipe(
      v.number(),
      v.gtValue(0),
      v.maxValue(1),
      v.description("Share of the steps that is run from the picture to begin with; 1 leaves least of it"),
    ),
    0.8,
  ),
  batchSize: v.optional(
    count("Pictures drawn at once, which changes memory and speed alone; without it 64 small ones or one large one"),
  ),
  ...tuneEntry,
  out: v.optional(text("Folder for the PNG files"), "pictures"),
  grid: v.optional(text("PNG file for all pictures side by side, a row for each prompt")),
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

/** What only our own record tells. */
function ownValues(record: SampleRecord): Readonly<Record<string, unknown>> {
  const { index, noise, guidanceRescale, eta, width, height, initImage, strength, vae } = record;
  const { tokenizer, modelConfig, lora } = record;
  const picture = { index, noise, guidanceRescale, eta, width, height, initImage, strength };
  return { ...modelOf(record), ...picture, vae, tokenizer, modelConfig, lora };
}

/**
 * The values that draw the picture again whose parameters these are, as a layer under the user's own. Another tool's model name is left
 * out: it names no folder of ours.
 */
export function sampleSource(parameters: SampleRecord | ImageParameters, file: string): ConfigSource {
  const { prompt, steps, sampler, guidance, seed, negativePrompt } = parameters;
  const own = "version" in parameters ? ownValues(parameters) : {};
  const values = { negativePrompt, samplerSteps: steps, sampler, guidance, seed, ...own };
  const told = Object.entries(values).filter(([, value]) => value !== undefined);
  return plainSource({ prompts: [prompt], count: 1, ...Object.fromEntries(told) }, file);
}
