/** The parameters that a generated PNG carries: the `parameters` text that other tools read, and our own exact record under `refl`. */
import { DataError } from "@refl/tensor";
import * as v from "valibot";
import { insertPngText, readPngText } from "./png-chunks.ts";

const count = v.pipe(v.number(), v.integer(), v.minValue(1));

/** Schema of the JSON in the `refl` text chunk. Version 1. */
export const SampleRecordSchema = v.object({
  version: v.literal(1),
  prompt: v.string(),
  negativePrompt: v.optional(v.string()),
  /** Sampler steps. */
  steps: count,
  /** `pndm`, `ddim` or `ddpm`. */
  sampler: v.string(),
  /** Classifier-free guidance scale; 1 means none. */
  guidance: v.number(),
  /** Share of guidance rescale, and of DDPM's noise in DDIM steps; absent for 0. */
  guidanceRescale: v.optional(v.number()),
  eta: v.optional(v.number()),
  /** `torch-cpu` where noise is PyTorch's; absent for this project's own. */
  noise: v.optional(v.string()),
  /** The picture that this one began with, and the share of the steps that was run; absent for noise alone. */
  initImage: v.optional(v.string()),
  strength: v.optional(v.number()),
  /** Folder of the autoencoder where it is not the model's own. */
  vae: v.optional(v.string()),
  /** What a model in a single file was opened with. */
  tokenizer: v.optional(v.string()),
  modelConfig: v.optional(v.string()),
  /** LoRA files with their scales, as `FILE` or `FILE:scale`; absent for none. */
  lora: v.optional(v.array(v.string())),
  /** Noise comes from the counter (seed, index), so a picture does not depend on the batch that it was drawn in. */
  seed: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  index: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  /** Pixels of the picture as the model made it. */
  width: count,
  height: count,
  /** Name or folder of the model. */
  model: v.string(),
  /** First hex digits of the SHA-256 of its UNet weights. */
  modelHash: v.string(),
});

/** Everything that is needed to draw a picture again with the same model. */
export type SampleRecord = v.InferOutput<typeof SampleRecordSchema>;

/** What the `parameters` text of any tool may tell; absent fields were not in it. */
export interface ImageParameters {
  readonly prompt: string;
  readonly negativePrompt?: string;
  readonly steps?: number;
  readonly sampler?: string;
  readonly guidance?: number;
  readonly seed?: number;
  readonly width?: number;
  readonly height?: number;
  readonly modelHash?: string;
  readonly model?: string;
}

const SAMPLER_NAMES: readonly (readonly [string, string])[] = [
  ["ddim", "DDIM"],
  ["ddpm", "DDPM"],
  // PNDM without its Runge-Kutta start is known by this name.
  ["pndm", "PLMS"],
];

const quote = (value: string): string => (/[,:\n"]/.test(value) ? JSON.stringify(value) : value);

/** The record in AUTOMATIC1111's form: prompt, an optional `Negative prompt:` line, then one line of `key: value` pairs. */
export function formatParameters(record: SampleRecord): string {
  const sampler = SAMPLER_NAMES.find(([ours]) => ours === record.sampler)?.[1] ?? record.sampler;
  const pairs = [
    ["Steps", String(record.steps)],
    ["Sampler", sampler],
    ["CFG scale", String(record.guidance)],
    ["Seed", String(record.seed)],
    ["Size", `${record.width}x${record.height}`],
    ...(record.strength === undefined ? [] : [["Denoising strength", String(record.strength)] as const]),
    ["Model hash", record.modelHash],
    ["Model", record.model],
  ];
  const lines = [record.prompt];
  if (record.negativePrompt) lines.push(`Negative prompt: ${record.negativePrompt}`);
  lines.push(pairs.map(([key, value]) => `${key}: ${quote(value!)}`).join(", "));
  return lines.join("\n");
}

function unquote(value: string): string {
  if (!value.startsWith('"')) return value;
  try {
    return String(JSON.parse(value));
  } catch {
    return value;
  }
}

/** Reads AUTOMATIC1111's form as that tool does: the last line counts as pairs when it has at least three. Never throws; what it cannot read is absent. */
export function parseParameters(text: string): ImageParameters {
  const lines = text.trim().split("\n");
  const pairs = new Map<string, string>();
  const pattern = /\s*(\w[\w \-/]*?):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)/g;
  const found = [...(lines.at(-1) ?? "").matchAll(pattern)];
  if (found.length >= 3) {
    lines.pop();
    for (const [, key, value] of found) pairs.set(key!, unquote(value!.trim()));
  }
  const negativeAt = lines.findIndex((line) => line.startsWith("Negative prompt:"));
  const prompt = (negativeAt < 0 ? lines : lines.slice(0, negativeAt)).join("\n").trim();
  const negativePrompt =
    negativeAt < 0 ? "" : lines.slice(negativeAt).join("\n").slice("Negative prompt:".length).trim();
  const number = (key: string): number | undefined => {
    const value = pairs.get(key);
    return value !== undefined && value !== "" && Number.isFinite(Number(value)) ? Number(value) : undefined;
  };
  const size = /^(\d+)x(\d+)$/.exec(pairs.get("Size") ?? "");
  const samplerName = pairs.get("Sampler");
  const fields = {
    negativePrompt: negativePrompt || undefined,
    steps: number("Steps"),
    sampler: SAMPLER_NAMES.find(([, theirs]) => theirs === samplerName)?.[0] ?? samplerName,
    guidance: number("CFG scale"),
    seed: number("Seed"),
    width: size ? Number(size[1]) : undefined,
    height: size ? Number(size[2]) : undefined,
    modelHash: pairs.get("Model hash"),
    model: pairs.get("Model"),
  };
  const known = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
  return { prompt, ...known };
}

/** A copy of `png` that carries the record twice: as `parameters` for other tools and as `refl` (JSON, exact) for us. */
export function embedSampleRecord(png: Uint8Array, record: SampleRecord): Uint8Array {
  return insertPngText(png, { parameters: formatParameters(record), refl: JSON.stringify(record) });
}

/**
 * What a PNG says about its making: our exact record when it has one, else what its `parameters` text tells.
 * Throws `DataError` naming `file` when the PNG is damaged, has neither chunk, or its `refl` chunk is not a record of version 1.
 */
export function readImageParameters(png: Uint8Array, file = "PNG"): SampleRecord | ImageParameters {
  const texts = readPngText(png, file);
  const ours = texts.get("refl");
  if (ours !== undefined) {
    let value: unknown;
    try {
      value = JSON.parse(ours);
    } catch {
      throw new DataError(file, 0, "refl", "the text chunk is not JSON");
    }
    const result = v.safeParse(SampleRecordSchema, value);
    if (!result.success) {
      const issue = result.issues[0];
      throw new DataError(file, 0, `refl.${v.getDotPath(issue) ?? ""}`, issue.message);
    }
    return result.output;
  }
  const theirs = texts.get("parameters");
  if (theirs === undefined)
    throw new DataError(
      file,
      0,
      "parameters",
      "the PNG carries no generation parameters (neither a `refl` nor a `parameters` text chunk)",
    );
  return parseParameters(theirs);
}
