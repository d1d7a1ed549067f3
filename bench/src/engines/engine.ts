/** What an engine must offer to be timed: a program for a work, or null where it has none. */
import type { HostArray, Work } from "../work.ts";

/** A work made ready on an engine: inputs uploaded, functions compiled at the first run. */
export interface Program {
  /** Encodes and submits one iteration; its results are dropped. */
  run(): void | Promise<void>;
  /** Runs once and reads the outputs, by the names of `outputShapes` and in the canonical layout (NCHW, row-major). Called once, before `run`. */
  read(): Promise<Record<string, ArrayLike<number>>>;
  /** The kernels that an iteration runs, by their share of its time: those of at least a tenth. Called after all runs. */
  kernels?(): Promise<readonly string[]>;
  dispose(): void | Promise<void>;
}

export interface Engine {
  readonly name: string;
  readonly version: string;
  /** Submits all that is encoded and resolves when the device has done it. */
  sync(): Promise<void>;
  /** Null where the engine has no such function. Throws where it fails. */
  prepare(work: Work, inputs: Record<string, HostArray>): Promise<Program | null>;
  dispose(): void;
}

/** What a peer's adapter is given: where its bundle lies and how the host waits. */
export interface PeerHost {
  /** Imports one of the bundles that the build wrote. */
  load(file: string): Promise<unknown>;
  /** The bytes of a file beside them. */
  bytes(file: string): Promise<ArrayBuffer>;
  /** Versions by package. */
  readonly versions: Readonly<Record<string, string>>;
  /** A device for peers that take one, with all that the adapter has. */
  device(): Promise<GPUDevice>;
  /** Resolves when the queue has done all its work, without spinning a core meanwhile. */
  settle(queue: GPUQueue): Promise<void>;
  /** The device that the peer being started asked for last. */
  lastDevice(): GPUDevice;
}

/** Starts an engine; rejects where it does not run on this host. */
export type StartPeer = (host: PeerHost) => Promise<Engine>;
