/** Opening the text-to-image model that a config names: a diffusers folder or one file, with LoRA files merged into it. */
import {
  hasLora,
  isJsonObject,
  type JsonObject,
  mergeablePaths,
  mergeLora,
  openCheckpoint,
  pipelineFromSingleFile,
  readLora,
  type TextToImagePipeline,
} from "@refl/models";
import { CheckpointError, DataError } from "@refl/tensor";
import { openPlace } from "../scorers/open.ts";
import type { ModelPlace } from "../scorers/scorer.ts";
import { clipTokenizer } from "../scorers/tokenizers.ts";
import type { JobContext } from "./context.ts";
import { loadPipeline, type SamplerName, withSampler } from "./sampler.ts";

/** What a config says of a model. */
export interface ModelSource {
  /** A folder or a file; the task's shipped base model when absent. */
  readonly model?: string | undefined;
  readonly task: string;
  readonly tokenizer?: string | undefined;
  readonly modelConfig?: string | undefined;
  /** `FILE` or `FILE:scale`. */
  readonly lora?: readonly string[] | undefined;
}

/** A LoRA file and how much of it is merged. */
export interface LoraSource {
  readonly file: string;
  readonly scale: number;
}

/** Reads `FILE:scale`; a name without a number at its end has the scale 1. @throws DataError for an empty name */
export function parseLora(text: string): LoraSource {
  const [, named, number] = /^(.*):([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)$/i.exec(text) ?? [];
  const file = named ?? text;
  if (file === "")
    throw new DataError("lora", 0, "file", `${JSON.stringify(text)} names no file; FILE or FILE:scale does`);
  return { file, scale: number === undefined ? 1 : Number(number) };
}

/** Weights of a LoRA folder as diffusers and PEFT write it. */
const LORA_FILES = ["pytorch_lora_weights.safetensors", "adapter_model.safetensors", "adapter_model.bin"] as const;
const PEFT_CONFIG = "adapter_config.json";

async function loraFile(place: ModelPlace): Promise<string> {
  if (place.file !== null) return place.file;
  for (const file of LORA_FILES) if (await place.folder.exists(file)) return file;
  throw new CheckpointError(place.folder.name, `holds no LoRA: expected ${LORA_FILES.join(" or ")}, or name the file`);
}

async function applyLora(
  pipeline: TextToImagePipeline,
  { file, scale }: LoraSource,
  context: JobContext,
): Promise<void> {
  const place = await openPlace(file, context);
  const path = await loraFile(place);
  const beside = path.slice(0, path.lastIndexOf("/") + 1) + PEFT_CONFIG;
  const config: JsonObject | null = (await place.folder.exists(beside)) ? await place.folder.readJson(beside) : null;
  const checkpoint = await openCheckpoint(await place.folder.open(path));
  try {
    const models = [
      ["unet", pipeline.unet],
      ["text_encoder", pipeline.textEncoder],
    ] as const;
    const found = models.filter(([component]) => hasLora(checkpoint, component));
    if (found.length === 0)
      throw new CheckpointError(checkpoint.name, "holds no adapters of the UNet or the text encoder");
    for (const [component, model] of found) {
      const options = { component, ...(isJsonObject(config) ? { config } : {}) };
      const weights = await readLora(checkpoint, mergeablePaths(model), options);
      mergeLora(model, weights, { scale, file: checkpoint.name });
    }
  } finally {
    await checkpoint.close();
  }
}

async function openFile(place: ModelPlace, source: ModelSource, context: JobContext): Promise<TextToImagePipeline> {
  const { tokenizer: named, modelConfig } = source;
  const config = modelConfig === undefined ? undefined : await context.open(modelConfig);
  const beside = config ? { folder: config, file: null } : null;
  const given = named === undefined ? beside : await openPlace(named, context);
  const tokenizer = await clipTokenizer(place, given, "diffusion");
  const checkpoint = await openCheckpoint(await place.folder.open(place.file!));
  try {
    return await pipelineFromSingleFile(checkpoint, context.device, { tokenizer, ...(config ? { config } : {}) });
  } finally {
    await checkpoint.close();
  }
}

/**
 * The pipeline of a config's model under a sampler, by default the model's own. A diffusers folder has its tokenizer; a single file needs one beside it
 * or by name.
 * @throws CheckpointError when files are missing, damaged or do not fit; DataError for values that do not fit
 */
export async function openModel(
  source: ModelSource,
  context: JobContext,
  sampler?: SamplerName,
): Promise<TextToImagePipeline> {
  const { model, task, tokenizer, modelConfig, lora = [] } = source;
  const adapters = lora.map(parseLora);
  const place = model === undefined ? null : await openPlace(model, context);
  const single = place !== null && place.file !== null;
  const needless = Object.entries({ tokenizer, modelConfig }).find(([, value]) => value !== undefined);
  if (!single && needless)
    throw new DataError("model", 0, needless[0], "is for a model in a single file; a folder has its own");
  const folder = place?.folder ?? (await context.shipped(task)).base;
  const pipeline = single ? await openFile(place, source, context) : await loadPipeline(folder, context.device);
  try {
    for (const adapter of adapters) await applyLora(pipeline, adapter, context);
    return sampler === undefined ? pipeline : withSampler(pipeline, sampler);
  } catch (error) {
    pipeline.dispose();
    throw error;
  }
}
