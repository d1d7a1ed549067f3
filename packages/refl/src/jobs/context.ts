/** What every job runs in: the device, the run's place, and where models come from. */
import type { ModelFolder } from "@refl/models";
import type { Device } from "@refl/tensor";
import type { TaskModels } from "../models.ts";
import type { RunSink } from "../run/sink.ts";
import type { ModelPlace } from "../scorers/scorer.ts";
import type { TrainingObserver } from "../train/observer.ts";

/** A host fills it in: Node with folders, the browser with its own storage. */
export interface JobContext {
  readonly device: Device;
  /** Where checkpoints and pictures go; null keeps nothing. Metrics and grids are kept by `recordRun` around the job. */
  readonly sink: RunSink | null;
  /** The models that ship for a task. */
  readonly shipped: (task: string) => Promise<TaskModels>;
  /** A model folder that the user named. */
  readonly open: (path: string) => Promise<ModelFolder>;
  /** A model folder or a single file of weights that the user named; absent where the host knows folders only. */
  readonly place?: (path: string) => Promise<ModelPlace>;
  /** Largest resident memory of the process so far in bytes; absent where the host cannot tell. */
  readonly hostPeakBytes?: () => number;
  /** Versions of the programs that compute, for summaries. */
  readonly versions?: Readonly<Record<string, string>>;
  /** Looks on while a trainer works. */
  readonly observer?: TrainingObserver;
  /** Set to end the job after the step in hand. */
  readonly signal?: AbortSignal;
}
