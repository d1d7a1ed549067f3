/** What the child processes of the benchmark print, as JSON in their last line. */
import type { Summary } from "../stats.ts";

export interface TrainingReport {
  readonly wall: Summary;
  readonly cpu: Summary;
  /** The first step: compilation and capture included. */
  readonly first: { readonly wall: number; readonly cpu: number };
  readonly pipelines: number;
  readonly dispatchesPerStep: number;
  readonly submitsPerStep: number;
  readonly peakBytes: number;
  /** Multiplications and additions of a step's products, as `explain` counts them. */
  readonly flops: number;
  /** CPU milliseconds of the driver's threads for a product of 1024³ in the same process. */
  readonly gemmMs: number;
  readonly software: boolean;
}

/** Microseconds of the JS thread on Dawn's null backend, by what was run; null where the engine has no such thing. */
export interface HostReport {
  /** A small addition. */
  readonly eager: number;
  /** A kernel of a captured or jitted chain. */
  readonly replayed: number | null;
  /** A training step of a small MLP. */
  readonly step: number | null;
}

/** Milliseconds from before the engine's import to its first product on the host. */
export interface StartReport {
  readonly ms: number;
  readonly correct: boolean;
}
