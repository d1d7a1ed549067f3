/** Where a run leaves its config, metrics, pictures and checkpoints, on whatever host it runs. */
import type { ModelFolder, WritableModelFolder } from "@refl/models";
import type { SampleGrid, StageName } from "../events.ts";

/** Data that JSON can hold. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** A value as plain JSON data: what is undefined is left out. */
export function toJson(value: unknown): Json {
  return JSON.parse(JSON.stringify(value)) as Json;
}

/** One line of `metrics.jsonl`. `step` counts from 1; the other fields are the step's metrics. */
export interface MetricsRecord {
  readonly stage: StageName;
  readonly step: number;
  readonly [metric: string]: number | string;
}

/** Puts the files of a checkpoint or another folder into it, one after the other: they may be larger than memory. */
export type FolderWriter = (folder: WritableModelFolder) => Promise<void>;

/** A checkpoint that stands complete. */
export interface Checkpoint {
  /** Steps that were done when it was written. */
  readonly step: number;
  /** Where it is, in a form that `openCheckpoint` and people understand. */
  readonly path: string;
}

/** What a trainer may tell about a checkpoint. */
export interface CheckpointOptions {
  /** This is the best one so far: it is kept whatever comes after it. */
  readonly best?: boolean;
}

/**
 * The run's place. Every method resolves once its effect would survive the end of the process, and rejects with `StorageError`
 * when the place is full or not to be written; nothing is then left half-written.
 */
export interface RunSink {
  /** The place's name for people: a folder's path, or an OPFS name. */
  readonly location: string;
  /** The resolved config, every value of it. */
  writeConfig(config: Json): Promise<void>;
  readConfig(): Promise<Json>;
  /** Adds one line to the metrics. */
  appendMetrics(record: MetricsRecord): Promise<void>;
  /**
   * Keeps the metrics of a stage's first steps and drops all others (and a line that a crash cut off), so that a resumed run goes on where its
   * checkpoint stands and writes again what it does again.
   */
  truncateMetrics(stage: StageName, lastStep: number): Promise<void>;
  /** Keeps a grid as a PNG under the stage's and the step's name, and gives back its path. */
  writeSamples(stage: StageName, step: number, grid: SampleGrid): Promise<string>;
  /** Keeps all files that `write` writes, or none when it rejects. Afterwards only the last few checkpoints and the best one are left. */
  writeCheckpoint(step: number, write: FolderWriter, options?: CheckpointOptions): Promise<Checkpoint>;
  /** The complete checkpoint with most steps, `undefined` when there is none. */
  findLatestCheckpoint(): Promise<Checkpoint | undefined>;
  /** The checkpoint that was last marked best, `undefined` when none was. */
  findBestCheckpoint(): Promise<Checkpoint | undefined>;
  /** The files of a checkpoint. */
  openCheckpoint(checkpoint: Checkpoint): Promise<ModelFolder>;
  /** Any other file of the run (`summary.json`), whole or not at all. Gives back its path. */
  writeFile(name: string, data: Uint8Array | string): Promise<string>;
  /** Any other folder of the run (`control`), all its files or none; what had its name before is replaced. Gives back its path. */
  writeFolder(name: string, write: FolderWriter): Promise<string>;
}

/** Step as it stands in names: six digits at least, so that names sort as numbers do. */
export const stepName = (step: number): string => `step-${String(step).padStart(6, "0")}`;
