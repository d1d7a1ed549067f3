/** The closed union of events that long work yields: the CLI, the page and the run folder all draw from these and from nothing else. */

/** Names of the stages of a run, in the order in which a demo passes through them; a trainer uses the ones that it has. `pull` fetches files. */
export type StageName =
  | "pull"
  | "device"
  | "load"
  | "data"
  | "compile"
  | "pretrain"
  | "base"
  | "generate"
  | "annotate"
  | "reward"
  | "refl"
  | "control"
  | "sample"
  | "score"
  | "evaluate"
  | "report";

/** A stage begins. Everything until the `stage-end` of the same name belongs to it, but for the shader compilation inside it, which is a stage of its own (`compile`). */
export interface StageEvent {
  readonly type: "stage";
  readonly stage: StageName;
  /** One line for people, without a full stop. */
  readonly message?: string;
}

/** A stage ended. `seconds` is wall time, without that of a `compile` stage inside it. */
export interface StageEndEvent {
  readonly type: "stage-end";
  readonly stage: StageName;
  readonly seconds: number;
}

/**
 * One step of a stage was done. `step` counts from 1 and a resumed run goes on counting; `total` is the stage's whole number of steps.
 * Metrics are finite numbers under stable names: `loss`, `lr`, `gradNorm`, `lossScale` and `skipped` (1) of mixed precision, `reward`, `rewardLoss`, `pretrainingLoss`, `accuracy`, `judge`,
 * `memoryBytes` (the device's, in use), `files` (of `pull`: those that are whole).
 */
export interface StepEvent {
  readonly type: "step";
  readonly stage: StageName;
  readonly step: number;
  readonly total: number;
  /** What `step` and `total` count where it is not steps. */
  readonly unit?: "byte";
  readonly metrics: Readonly<Record<string, number>>;
  /** Wall seconds of this step; absent where reading the clock would stall the device. */
  readonly secondsPerStep?: number;
}

/** Pictures laid out in rows: `rgb` holds `height` x `width` x 3 bytes, row-major, sRGB; picture k stands in column k % columns. */
export interface SampleGrid {
  readonly width: number;
  readonly height: number;
  readonly rgb: Uint8Array;
  readonly columns: number;
  /** One caption per picture, in the order of the pictures. */
  readonly captions: readonly string[];
}

/** Pictures from fixed prompts and fixed seeds; index k is the same prompt and seed in every grid of a run. */
export interface SamplesEvent {
  readonly type: "samples";
  readonly stage: StageName;
  readonly step: number;
  readonly grid: SampleGrid;
}

/** A checkpoint stands complete on the sink under `path`. */
export interface CheckpointEvent {
  readonly type: "checkpoint";
  readonly path: string;
}

/** Something that the user should know and that does not stop the work. */
export interface WarningEvent {
  readonly type: "warning";
  readonly message: string;
}

/** One line of ordinary information. */
export interface NoteEvent {
  readonly type: "note";
  readonly message: string;
}

/** A table: the first cell of every row is its label. `undefined` cells are written as a dash. */
export interface TableEvent {
  readonly type: "table";
  readonly title: string;
  readonly header: readonly string[];
  readonly rows: readonly (readonly (string | number | undefined)[])[];
}

/** The last event of a run. `summary` is what the generator returns, as plain JSON data. */
export interface ResultEvent<Summary = unknown> {
  readonly type: "result";
  readonly summary: Summary;
}

/** Every event that long work yields. */
export type RunEvent =
  | StageEvent
  | StageEndEvent
  | StepEvent
  | SamplesEvent
  | CheckpointEvent
  | WarningEvent
  | NoteEvent
  | TableEvent
  | ResultEvent;

/** Long work: yields events, returns its result, and stops after the current step once the `AbortSignal` that it was given is set. */
export type Run<Result> = AsyncGenerator<RunEvent, Result, void>;

/** The event as one line of JSON. A grid's pixels are left out (they are in the run folder); its size, columns and captions stay. */
export function eventToJson(event: RunEvent): string {
  if (event.type !== "samples") return JSON.stringify(event);
  const { rgb: _pixels, ...grid } = event.grid;
  return JSON.stringify({ ...event, grid });
}
