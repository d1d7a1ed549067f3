/** `pnpm bench` on Node: one process, one adapter, this engine and its peers; writes the JSON and the page, prints the table. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { createDevice } from "@refl/tensor";
import { fileTuneStore, nodeHost, tuneFolder } from "@refl/tensor/node";
import { runExtras } from "./extras.node.ts";
import { options as parse, save, write } from "./finish.node.ts";
import { fullDescriptor, recordDevices } from "./intercept.ts";
import { MEMORY_WORKS, memoryFact, unetStepFact } from "./memory.ts";
import type { Fact } from "./report/result.ts";
import { type BenchHost, runRows } from "./run.ts";
import { settle } from "./settle.ts";
import { watchDriverThreads } from "./threads.node.ts";

/** Where the peers' bundles lie; `versions.json` beside them tells the packages' versions. */
const PEER_FOLDER = resolve(process.env.REFL_BENCH_PEERS ?? join(import.meta.dirname, "peers"));

async function main(): Promise<void> {
  const options = parse(process.argv.slice(2));
  const driver = watchDriverThreads();
  // Dawn's promises do not hold Node's loop, and with nothing in it Node waits for V8's compilers: of ONNX Runtime's wasm, 45 seconds.
  setInterval(() => {}, 1000);
  const host = nodeHost();
  Object.defineProperty(globalThis, "navigator", { value: { gpu: host.gpu, userAgent: "node" }, configurable: true });
  const devices = recordDevices(host.gpu);
  const device = await createDevice({ host, tune: options.tune, tuneStore: fileTuneStore(tuneFolder()) });
  const versions = JSON.parse(readFileSync(join(PEER_FOLDER, "versions.json"), "utf8")) as Record<string, string>;
  const { software } = device.adapter;
  const bench: BenchHost = {
    name: `node ${process.versions.node}`,
    clock: {
      wall: () => performance.now(),
      workers: software && process.platform === "linux" ? driver.workers : null,
      threads: software ? driver.threads() : 1,
    },
    peers: {
      load: (file) => import(pathToFileURL(join(PEER_FOLDER, file)).href),
      bytes: async (file) => {
        const { buffer, byteOffset, byteLength } = readFileSync(join(PEER_FOLDER, file));
        return (buffer as ArrayBuffer).slice(byteOffset, byteOffset + byteLength);
      },
      versions,
      device: async () => {
        const adapter = await host.gpu.requestAdapter();
        return adapter!.requestDevice(fullDescriptor(adapter!));
      },
      settle: (queue) => settle(queue, host.rest),
      lastDevice: () => devices.at(-1)!,
    },
    log: (line) => console.error(line),
    date: () => new Date().toISOString(),
    version: versions["refl"] ?? "",
  };
  const result = await runRows(device, bench, options, (soFar) => save(soFar, options));
  const memory: Fact[] = [];
  if (options.only === null || "memory".includes(options.only.toLowerCase())) {
    for (const [name, work] of MEMORY_WORKS) memory.push(await memoryFact(device, name, work));
    memory.push(await unetStepFact(device));
  }
  const extras = await runExtras({
    folder: import.meta.dirname,
    bundles: PEER_FOLDER,
    peers: options.peers,
    only: options.only,
    log: bench.log,
  });
  const rows = [...result.rows, ...extras.rows];
  write({ ...result, rows, facts: [...result.facts, ...memory, ...extras.facts] }, options);
}

await main();
// Dawn's threads would keep the process.
process.exit(0);
