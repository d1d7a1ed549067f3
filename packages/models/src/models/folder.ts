/** Models in folders: `config.json` and the weights beside it, as diffusers and transformers keep them. */
import type { Device } from "@refl/tensor";
import type { ModelFolder, WritableModelFolder } from "../formats/folder.ts";
import type { JsonObject } from "../formats/json.ts";
import { openWeights, type WeightsOptions } from "../formats/sharded.ts";
import type { LoadOptions, Module } from "../nn/module.ts";
import { streamTensors } from "../nn/stream.ts";

/** File names of weights: those of diffusers' models, and of all others. */
export const DIFFUSION_WEIGHTS = "diffusion_pytorch_model.safetensors";
export const MODEL_WEIGHTS = "model.safetensors";

/** Element type that weights are stored in. */
export type WeightsDType = "F32" | "F16" | "BF16";

/** A model that knows its config. */
export interface ConfiguredModel extends Module<never[], unknown> {
  toConfig(): JsonObject;
}

export interface FolderPlace {
  /** Subfolder, `""` for the folder itself. Default `""`. */
  readonly path?: string;
  /** Default `model.safetensors`. */
  readonly weights?: string;
}

function at(path: string, file: string): string {
  return path ? `${path}/${file}` : file;
}

/**
 * Makes a model from its config and loads its weights, in evaluation mode as `from_pretrained` does.
 * @throws CheckpointError when a file is missing, damaged or does not fit; DataError for a config that is wrong.
 */
export async function loadModel<Model extends ConfiguredModel>(
  make: (config: JsonObject, file: string) => Model,
  folder: ModelFolder,
  device: Device,
  options: FolderPlace &
    Pick<WeightsOptions, "variant"> &
    Pick<LoadOptions, "rename" | "ignore" | "strict" | "seed"> = {},
): Promise<Model> {
  const { path = "", weights = MODEL_WEIGHTS, variant, ...load } = options;
  const config = at(path, "config.json");
  const model = make(await folder.readJson(config), `${folder.name}/${config}`);
  const source = await openWeights(folder, at(path, weights), variant === undefined ? {} : { variant });
  try {
    await model.load(source, { ...load, device });
    model.eval();
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  } finally {
    await source.close();
  }
}

/** Writes `config.json` and the weights, read from the device a few MiB at a time; each file appears whole or not at all. */
export async function saveModel(
  model: ConfiguredModel,
  folder: WritableModelFolder,
  options: FolderPlace & { readonly dtype?: WeightsDType } = {},
): Promise<void> {
  const { path = "", weights = MODEL_WEIGHTS, dtype = "F32" } = options;
  const file = at(path, weights);
  const tensors = [...model.namedSlots()].map(([name, { shape, parts }]) => ({ name, shape, parts }));
  const stream = { dtype, metadata: { format: "pt" }, file: `${folder.name}/${file}` };
  await folder.write(file, streamTensors(tensors, stream));
  await folder.writeJson(at(path, "config.json"), model.toConfig());
}
