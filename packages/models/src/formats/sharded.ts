/** Checkpoints in several files with an index (`model.safetensors.index.json`, `pytorch_model.bin.index.json`), and the choice of a folder's weights. */
import { CheckpointError, DataError } from "@refl/tensor";
import { type Checkpoint, makeCheckpoint, type TensorHeader } from "./checkpoint.ts";
import type { ModelFolder } from "./folder.ts";
import { isJsonObject } from "./json.ts";
import { type CheckpointOptions, openCheckpoint, withCheckpointOptions } from "./open-checkpoint.ts";

const MAX_SHARDS = 1000;

/**
 * Opens all files that an index names. Closing the checkpoint closes them.
 * @param path of the index in the folder; the files lie beside it
 * @throws DataError when the index is malformed; CheckpointError when a file is missing or damaged, lacks a tensor that the index puts there, or two files
 *   have a tensor of the same name.
 */
export async function openShardedCheckpoint(
  folder: ModelFolder,
  path: string,
  options: CheckpointOptions = {},
): Promise<Checkpoint> {
  const file = `${folder.name}/${path}`;
  const weightMap = parseWeightMap(await folder.readJson(path), file);
  const beside = path.slice(0, path.lastIndexOf("/") + 1);
  const shards = new Map<string, Checkpoint>();
  const close = async (): Promise<void> => {
    for (const shard of shards.values()) await shard.close();
  };
  try {
    const names = [...new Set(weightMap.values())].sort();
    if (names.length > MAX_SHARDS)
      throw new CheckpointError(file, `names ${names.length} files, at most ${MAX_SHARDS}`);
    const { wrapper } = options;
    for (const name of names) {
      const source = await folder.open(beside + name);
      shards.set(name, await openCheckpoint(source, wrapper === undefined ? { strip: [] } : { wrapper, strip: [] }));
    }
    const places = placeTensors(file, weightMap, shards);
    const whole = makeCheckpoint({
      name: file,
      format: "sharded",
      metadata: new Map([...shards.values()].flatMap(({ metadata }) => [...metadata])),
      tensors: new Map([...places].map(([name, shard]): [string, TensorHeader] => [name, shard.tensors.get(name)!])),
      read: async ({ name }, into) => (await places.get(name)!.read(name, into)).bytes,
      close,
    });
    return withCheckpointOptions(whole, options);
  } catch (error) {
    await close();
    throw error;
  }
}

function parseWeightMap(index: unknown, file: string): ReadonlyMap<string, string> {
  const map = isJsonObject(index) ? index["weight_map"] : undefined;
  if (!isJsonObject(map)) throw new DataError(file, 0, "weight_map", "must be an object from tensors to files");
  return new Map(
    Object.entries(map).map(([name, shard]) => {
      if (typeof shard !== "string" || /[/\\]/.test(shard)) {
        throw new DataError(file, 0, `weight_map.${name}`, "must be the name of a file beside the index");
      }
      return [name, shard];
    }),
  );
}

function placeTensors(
  file: string,
  weightMap: ReadonlyMap<string, string>,
  shards: ReadonlyMap<string, Checkpoint>,
): ReadonlyMap<string, Checkpoint> {
  const places = new Map<string, Checkpoint>();
  for (const shard of shards.values()) {
    for (const name of shard.tensors.keys()) {
      const other = places.get(name);
      if (other) throw new CheckpointError(file, `${other.name} and ${shard.name} both have ${name}`);
      places.set(name, shard);
    }
  }
  const missing = [...weightMap]
    .filter(([name, shard]) => places.get(name) !== shards.get(shard))
    .map(([name]) => name);
  if (missing.length > 0) {
    const [first] = missing;
    const text = `${weightMap.get(first!)} has no ${first}, though the index puts it there (${missing.length} in all)`;
    throw new CheckpointError(file, text, { missing });
  }
  return places;
}

/** PyTorch's names for what safetensors calls `model` and diffusers `diffusion_pytorch_model`. */
const TORCH_STEMS: Readonly<Record<string, string>> = { model: "pytorch_model" };

export interface WeightsOptions extends CheckpointOptions {
  /** `fp16` for `model.fp16.safetensors` in preference to `model.safetensors`. Default: none. */
  readonly variant?: string;
}

/** Paths at which the weights called `path` may lie, in order of preference. */
function candidates(path: string, variant: string | undefined): string[] {
  const slash = path.lastIndexOf("/") + 1;
  const dot = path.lastIndexOf(".");
  const folder = path.slice(0, slash);
  const stem = path.slice(slash, dot > slash ? dot : undefined);
  const torchStem = Object.hasOwn(TORCH_STEMS, stem) ? TORCH_STEMS[stem] : stem;
  const plain = [`${stem}.safetensors`, `${torchStem}.bin`];
  const named = plain.flatMap((file) => {
    const [name, end] = [file.slice(0, file.lastIndexOf(".")), file.slice(file.lastIndexOf(".") + 1)];
    const variants = variant === undefined ? [] : [`${name}.${variant}.${end}`, `${file}.index.${variant}.json`];
    return [...variants, file, `${file}.index.json`];
  });
  return [...new Set([...(variant === undefined ? [path] : []), ...named.map((file) => folder + file)])];
}

/**
 * Opens the weights that a folder keeps as `path` (`unet/diffusion_pytorch_model.safetensors`): that file, or an index of several, or PyTorch's `.bin`
 * of the same, or an index of those.
 * @throws CheckpointError naming the files that there are when there is none of these; as `openCheckpoint`.
 */
export async function openWeights(
  folder: ModelFolder,
  path: string,
  options: WeightsOptions = {},
): Promise<Checkpoint> {
  for (const candidate of candidates(path, options.variant)) {
    if (!(await folder.exists(candidate))) continue;
    if (candidate.endsWith(".json")) return openShardedCheckpoint(folder, candidate, options);
    return openCheckpoint(await folder.open(candidate), options);
  }
  const files = (await folder.list()).join(", ") || "nothing";
  throw new CheckpointError(`${folder.name}/${path}`, `does not exist; the folder has ${files}`);
}
