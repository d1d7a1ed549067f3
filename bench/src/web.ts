/** The benchmark in a page or in Deno: the rows alone, timed by the wall clock. */
import { createDevice } from "@refl/tensor";
import { fullDescriptor, recordDevices } from "./intercept.ts";
import type { BenchResult } from "./report/result.ts";
import { type RunOptions, runRows } from "./run.ts";
import { settle } from "./settle.ts";

export interface WebRun {
  readonly name: string;
  /** Where the peers' bundles lie; ends in a slash. */
  readonly base: string;
  readonly options: RunOptions;
}

/** Runs the rows on `navigator.gpu`. `bytes` reads a file beside the peers' bundles. */
export async function runOnWeb(
  { name, base, options }: WebRun,
  log: (line: string) => void,
  bytes: (file: string) => Promise<ArrayBuffer>,
): Promise<BenchResult> {
  const { gpu } = navigator;
  const devices = recordDevices(gpu);
  const device = await createDevice();
  const versions = JSON.parse(new TextDecoder().decode(await bytes("versions.json"))) as Record<string, string>;
  return runRows(
    device,
    {
      name,
      clock: { wall: () => performance.now(), workers: null, threads: 1 },
      peers: {
        load: (file) => import(base + file),
        bytes,
        versions,
        device: async () => {
          const adapter = await gpu.requestAdapter();
          return adapter!.requestDevice(fullDescriptor(adapter!));
        },
        settle: (queue) => settle(queue, undefined),
        lastDevice: () => devices.at(-1)!,
      },
      log,
      date: () => new Date().toISOString(),
      version: versions["refl"] ?? "",
    },
    options,
  );
}
