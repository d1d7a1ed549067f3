/** The benchmark in a page or in Deno: the rows alone; the process that serves it tells the driver's CPU time and keeps the results. */
import { createDevice } from "@refl/tensor";
import { type DriverTime, remoteClock } from "./clock.ts";
import { fullDescriptor, recordDevices } from "./intercept.ts";
import type { BenchResult } from "./report/result.ts";
import { type RunOptions, runRows } from "./run.ts";
import { settle } from "./settle.ts";

export interface WebRun {
  readonly name: string;
  /** The server's root, see `serveRun`; ends in a slash. */
  readonly base: string;
  /** Where modules are imported from; ends in a slash. */
  readonly modules: string;
  readonly options: RunOptions;
}

/** Runs the rows on `navigator.gpu`; the result goes to the server after each row and at the end. */
export async function runOnWeb({ name, base, modules, options }: WebRun, log: (line: string) => void): Promise<void> {
  const { gpu } = navigator;
  const ask = async (): Promise<DriverTime | null> =>
    (await (await fetch(`${base}driver`)).json()) as DriverTime | null;
  const bytes = async (file: string): Promise<ArrayBuffer> => (await fetch(`${base}peers/${file}`)).arrayBuffer();
  // Threads that come after this question are the driver's.
  await ask();
  const devices = recordDevices(gpu);
  const device = await createDevice({ tune: options.tune });
  const versions = JSON.parse(new TextDecoder().decode(await bytes("versions.json"))) as Record<string, string>;
  let sent = Promise.resolve();
  const send = (result: BenchResult): Promise<void> => {
    const post = async (): Promise<void> => {
      const { ok, status } = await fetch(`${base}result`, { method: "POST", body: JSON.stringify(result) });
      if (!ok) throw new Error(`the result was refused with status ${status}`);
    };
    sent = sent.then(post);
    return sent;
  };
  const result = await runRows(
    device,
    {
      name,
      clock: await remoteClock(ask, device.adapter.software),
      peers: {
        load: (file) => import(modules + file),
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
    send,
  );
  await send(result);
}
