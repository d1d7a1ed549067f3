/** The fuzz command's worker: runs cases of one reader and tells where it is, so that the command sees a hang. */
import { parentPort, workerData } from "node:worker_threads";
import { READERS, runCase, seedFiles } from "./readers.ts";

export interface FuzzJob {
  readonly folder: string;
  readonly reader: string;
  readonly seed: number;
  readonly first: number;
  readonly count: number;
  /** One cell: the case that is running. */
  readonly progress: Int32Array;
}

export interface FuzzReport {
  readonly read: number;
  readonly refused: number;
  /** At most 20 of them in full. */
  readonly failures: readonly { readonly index: number; readonly error: string }[];
  readonly crashes: number;
  readonly slowest: { readonly index: number; readonly milliseconds: number };
  readonly peakBytes: number;
  readonly startBytes: number;
}

/** Memory in use: the JavaScript heap and buffers outside it. */
function inUse(): number {
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

async function main({ folder, reader: name, seed, first, count, progress }: FuzzJob): Promise<FuzzReport> {
  const reader = READERS.find((reader) => reader.name === name)!;
  const seeds = seedFiles(reader, folder);
  const counts = { read: 0, refused: 0 };
  const failures: { index: number; error: string }[] = [];
  let crashes = 0;
  let slowest = { index: first, milliseconds: 0 };
  const startBytes = inUse();
  let peakBytes = startBytes;
  for (let index = first; index < first + count; index++) {
    Atomics.store(progress, 0, index);
    const started = performance.now();
    try {
      counts[await runCase(reader, seeds, seed, index)]++;
    } catch (error) {
      crashes++;
      if (failures.length < 20)
        failures.push({ index, error: error instanceof Error ? `${error.stack}` : String(error) });
    }
    const milliseconds = performance.now() - started;
    if (milliseconds > slowest.milliseconds) slowest = { index, milliseconds };
    if (index % 16 === 0 || milliseconds > 20) peakBytes = Math.max(peakBytes, inUse());
  }
  return { ...counts, failures, crashes, slowest, peakBytes, startBytes };
}

parentPort?.postMessage(await main(workerData as FuzzJob));
