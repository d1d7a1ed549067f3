/** `model_index.json`, the table of contents of a diffusers folder: which component is of which class. */
import { DataError } from "@refl/tensor";
import type { ModelFolder } from "./folder.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "./json.ts";

const FILE = "model_index.json";

/** [library, class], for example ["diffusers", "UNet2DConditionModel"]. */
export type ComponentClass = readonly [library: string, className: string];

export interface ModelIndex {
  /** The pipeline's class, for example `StableDiffusionPipeline`. */
  readonly className: string;
  /** Components that the folder has, each in a subfolder of its name. Absent ones (`[null, null]`) are left out. */
  readonly components: ReadonlyMap<string, ComponentClass>;
  /** The pipeline's own settings, for example `requires_safety_checker`. */
  readonly options: ReadonlyMap<string, JsonValue>;
}

/** @throws DataError naming `file` and the field. */
export function parseModelIndex(value: unknown, file: string = FILE): ModelIndex {
  if (!isJsonObject(value)) throw new DataError(file, 0, "", "must hold a JSON object");
  const { _class_name: className, ...rest } = value;
  if (typeof className !== "string") throw new DataError(file, 0, "_class_name", "must be the pipeline's class name");
  const components = new Map<string, ComponentClass>();
  const options = new Map<string, JsonValue>();
  for (const [key, entry] of Object.entries(rest)) {
    if (key.startsWith("_")) continue;
    if (!Array.isArray(entry)) {
      options.set(key, entry);
      continue;
    }
    const [library, name] = entry;
    if (entry.length !== 2) throw new DataError(file, 0, key, "must be [library, class]");
    if (library === null && name === null) continue;
    if (typeof library !== "string" || typeof name !== "string") {
      throw new DataError(file, 0, key, "must be [library, class], both strings or both null");
    }
    components.set(key, [library, name]);
  }
  return { className, components, options };
}

/** The JSON that diffusers reads. */
export function modelIndexToJson(index: ModelIndex): JsonObject {
  return {
    _class_name: index.className,
    ...Object.fromEntries(index.options),
    ...Object.fromEntries([...index.components].map(([name, [library, className]]) => [name, [library, className]])),
  };
}

/** Reads a folder's `model_index.json`. @throws CheckpointError when it is missing; DataError naming file and field. */
export async function readModelIndex(folder: ModelFolder): Promise<ModelIndex> {
  return parseModelIndex(await folder.readJson(FILE), `${folder.name}/${FILE}`);
}

/** @throws DataError when the folder has no such component. */
export function componentClass(index: ModelIndex, component: string, file: string = FILE): ComponentClass {
  const found = index.components.get(component);
  if (!found) {
    const known = [...index.components.keys()].join(", ") || "none";
    throw new DataError(file, 0, component, `the pipeline has no such component; it has ${known}`);
  }
  return found;
}
