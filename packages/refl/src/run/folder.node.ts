/** The run's place as a folder: `runs/<name>-<n>/` with config.json, metrics.jsonl, samples/ and checkpoints/. */
import { promises as fs } from "node:fs";
import { basename, dirname, join } from "node:path";
import { type ModelFolder, StorageError } from "@refl/models";
import { nodeFolder } from "@refl/models/node";
import { CheckpointError, DataError } from "@refl/tensor";
import type { SampleGrid, StageName } from "../events.ts";
import {
  exists,
  listFolder,
  makeFolder,
  readText,
  removeFolder,
  removeTemporaries,
  storageError,
  writeFileAtomic,
  writeFolderAtomic,
} from "../io/files.node.ts";
import { encodePng } from "../io/png.node.ts";
import type { ModelPlace } from "../scorers/scorer.ts";
import {
  type Checkpoint,
  type CheckpointOptions,
  type FolderWriter,
  type Json,
  type MetricsRecord,
  type RunSink,
  stepName,
} from "./sink.ts";

/** How a run folder treats its checkpoints. */
export interface RunFolderOptions {
  /** Checkpoints to keep, the best one not counted; 3 when absent. */
  readonly keep?: number;
}

/** A `RunSink` in a folder of the file system. Make it with `createRunFolder` or `openRunFolder`. */
export class RunFolder implements RunSink {
  readonly location: string;
  readonly keep: number;

  /** Use `createRunFolder` or `openRunFolder`: they check that the folder is new, or a run's. */
  constructor(location: string, options: RunFolderOptions = {}) {
    this.location = location;
    this.keep = options.keep ?? 3;
  }

  async writeConfig(config: Json): Promise<void> {
    await writeFileAtomic(join(this.location, "config.json"), JSON.stringify(config, null, 2) + "\n");
  }

  /** Throws `DataError` when config.json is not JSON. */
  async readConfig(): Promise<Json> {
    const path = join(this.location, "config.json");
    const text = await readText(path);
    try {
      return JSON.parse(text) as Json;
    } catch (cause) {
      throw new DataError(path, 0, "", `not JSON: ${(cause as Error).message}`);
    }
  }

  async appendMetrics(record: MetricsRecord): Promise<void> {
    const path = join(this.location, "metrics.jsonl");
    const line = Buffer.from(JSON.stringify(record) + "\n");
    let handle: fs.FileHandle | undefined;
    try {
      handle = await fs.open(path, "a");
      const { size } = await handle.stat();
      try {
        await handle.appendFile(line);
      } catch (cause) {
        await handle.truncate(size);
        throw cause;
      }
    } catch (cause) {
      throw storageError(path, cause);
    } finally {
      await handle?.close();
    }
  }

  /** Throws `DataError` naming the line when a line before the last one is not a record. */
  async truncateMetrics(stage: StageName, lastStep: number): Promise<void> {
    const path = join(this.location, "metrics.jsonl");
    if (!(await exists(path))) return;
    const text = await readText(path);
    const lines = text.split("\n");
    // The text ends in a line feed unless a crash cut the last line off; what follows the last line feed is dropped either way.
    lines.pop();
    const kept = lines.filter((line, i) => {
      let record: { readonly stage?: unknown; readonly step?: unknown };
      try {
        record = JSON.parse(line);
      } catch {
        throw new DataError(path, i + 1, "", "not JSON");
      }
      if (typeof record?.step !== "number") throw new DataError(path, i + 1, "step", "missing or not a number");
      return record.stage === stage && record.step <= lastStep;
    });
    const result = kept.map((line) => line + "\n").join("");
    if (result !== text) await writeFileAtomic(path, result);
  }

  async writeSamples(stage: StageName, step: number, grid: SampleGrid): Promise<string> {
    const folder = join(this.location, "samples");
    const path = join(folder, `${stage}-${stepName(step)}.png`);
    await makeFolder(folder);
    await writeFileAtomic(path, encodePng(grid, { captions: grid.captions.join("\n") }));
    return path;
  }

  async writeCheckpoint(step: number, write: FolderWriter, options: CheckpointOptions = {}): Promise<Checkpoint> {
    const folder = join(this.location, "checkpoints");
    const path = join(folder, stepName(step));
    try {
      await fs.mkdir(folder, { recursive: true });
      await this.#syncMetrics();
    } catch (cause) {
      throw storageError(folder, cause);
    }
    await writeFolderAtomic(path, write);
    if (options.best) await writeFileAtomic(join(folder, "best.json"), JSON.stringify({ step }) + "\n");
    await this.#prune();
    return { step, path };
  }

  async findLatestCheckpoint(): Promise<Checkpoint | undefined> {
    return (await this.#checkpoints()).at(-1);
  }

  async findBestCheckpoint(): Promise<Checkpoint | undefined> {
    const path = join(this.location, "checkpoints", "best.json");
    if (!(await exists(path))) return undefined;
    let step: unknown;
    try {
      step = (JSON.parse(await readText(path)) as { step?: unknown }).step;
    } catch (cause) {
      if (cause instanceof StorageError) throw cause;
      throw new DataError(path, 0, "", "not JSON");
    }
    return (await this.#checkpoints()).find((checkpoint) => checkpoint.step === step);
  }

  async openCheckpoint(checkpoint: Checkpoint): Promise<ModelFolder> {
    return nodeFolder(checkpoint.path);
  }

  async writeFile(name: string, data: Uint8Array | string): Promise<string> {
    const path = join(this.location, ...name.split("/"));
    await makeFolder(dirname(path));
    await writeFileAtomic(path, data);
    return path;
  }

  async writeFolder(name: string, write: FolderWriter): Promise<string> {
    const path = join(this.location, name);
    await writeFolderAtomic(path, write);
    return path;
  }

  /** Removes the folder when nothing but its config came into it: the run failed before it began. */
  async discardIfEmpty(): Promise<void> {
    const names = await listFolder(this.location);
    if (names.every((name) => name === "config.json")) await removeFolder(this.location);
  }

  /** Lines written before a checkpoint must not be younger than it after a power cut. */
  async #syncMetrics(): Promise<void> {
    const path = join(this.location, "metrics.jsonl");
    if (!(await exists(path))) return;
    const handle = await fs.open(path, "r+");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  async #checkpoints(): Promise<Checkpoint[]> {
    const folder = join(this.location, "checkpoints");
    return (await listFolder(folder))
      .map((name) => ({ name, step: Number(/^step-(\d+)$/.exec(name)?.[1] ?? Number.NaN) }))
      .filter(({ step }) => Number.isSafeInteger(step))
      .sort((a, b) => a.step - b.step)
      .map(({ name, step }) => ({ step, path: join(folder, name) }));
  }

  async #prune(): Promise<void> {
    const best = await this.findBestCheckpoint();
    const others = (await this.#checkpoints()).filter((checkpoint) => checkpoint.step !== best?.step);
    for (const checkpoint of others.slice(0, Math.max(0, others.length - this.keep)))
      await removeFolder(checkpoint.path);
  }
}

/**
 * Makes the folder `<root>/<name>-<n>` with the first n above all that are taken, so that no run ever writes into another's, and puts
 * the resolved config into it. Throws `DataError` for a name that is no plain file name, `StorageError` when it cannot be made.
 */
export async function createRunFolder(
  root: string,
  name: string,
  config: Json,
  options: RunFolderOptions = {},
): Promise<RunFolder> {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(name))
    throw new DataError(
      "run name",
      0,
      "",
      `"${name}": use letters, digits, ".", "_" and "-", at most 100, a letter or digit first`,
    );
  const location = await makeNumberedFolder(root, name);
  const folder = new RunFolder(location, options);
  try {
    await folder.writeConfig(config);
  } catch (cause) {
    await removeFolder(location);
    throw cause;
  }
  return folder;
}

async function makeNumberedFolder(root: string, name: string): Promise<string> {
  await makeFolder(root);
  const taken = (await listFolder(root))
    .filter((entry) => entry.startsWith(`${name}-`))
    .map((entry) => entry.slice(name.length + 1))
    .filter((suffix) => /^\d+$/.test(suffix))
    .map(Number);
  for (let n = Math.max(0, ...taken) + 1; ; n++) {
    const location = join(root, `${name}-${n}`);
    try {
      await fs.mkdir(location);
      return location;
    } catch (cause) {
      // Another run may have taken the number since the folder was listed.
      if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw storageError(location, cause);
    }
  }
}

/**
 * Opens a run's folder to go on with it, and removes what a crash left under temporary names.
 * Throws `DataError` when it is not a run's folder (it has no config.json).
 */
export async function openRunFolder(location: string, options: RunFolderOptions = {}): Promise<RunFolder> {
  if (!(await exists(join(location, "config.json"))))
    throw new DataError(location, 0, "config.json", `${basename(location)} is not a run folder: it has no config.json`);
  await removeTemporaries(location);
  await removeTemporaries(join(location, "checkpoints"));
  await removeTemporaries(join(location, "samples"));
  return new RunFolder(location, options);
}

/**
 * The model folder that a path means: itself, or the best checkpoint (else the latest) where it is a run's folder.
 * Throws `CheckpointError` when it holds no model.
 */
export async function modelFolderAt(path: string): Promise<string> {
  const holdsModel = async (folder: string): Promise<boolean> =>
    (await exists(join(folder, "model_index.json"))) || (await exists(join(folder, "model.safetensors")));
  if (await holdsModel(path)) return path;
  const run = new RunFolder(path);
  const checkpoint = (await run.findBestCheckpoint()) ?? (await run.findLatestCheckpoint());
  if (checkpoint && (await holdsModel(checkpoint.path))) return checkpoint.path;
  const missing = (await exists(path)) ? "" : "no such folder; ";
  throw new CheckpointError(
    path,
    `${missing}expected a model folder (with model_index.json or model.safetensors) or a run's folder with checkpoints`,
  );
}

/**
 * The place that a path means: a file in its folder, a folder as it is, and of a run's folder its best checkpoint (else the latest).
 * Throws `CheckpointError` when there is none.
 */
export async function modelPlaceAt(path: string): Promise<ModelPlace> {
  const found = await fs.stat(path).catch(() => undefined);
  if (found?.isFile()) return { folder: nodeFolder(dirname(path)), file: basename(path) };
  const plain = found?.isDirectory() && !(await exists(join(path, "checkpoints")));
  return { folder: nodeFolder(plain ? path : await modelFolderAt(path)), file: null };
}
