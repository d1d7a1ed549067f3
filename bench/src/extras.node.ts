/** Rows and figures that need processes of their own: whole training steps, the host's cost, start-up, and sizes on disk. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { HostReport, StartReport, TrainingReport } from "./children/reports.ts";
import { type Fact, fastestPeer, type Row } from "./report/result.ts";
import { mad, median } from "./stats.ts";

export interface ExtrasOptions {
  /** Where the children's scripts lie. */
  readonly folder: string;
  /** Where the bundles of the engines lie. */
  readonly bundles: string;
  readonly peers: readonly string[];
  /** As the rows' filter. */
  readonly only: string | null;
  log(line: string): void;
}

export interface Extras {
  readonly rows: Row[];
  readonly facts: Fact[];
}

/** Runs a script of Node and parses the last line that it prints. Rejects with its last words when it fails. */
function child<T>(script: string, args: readonly string[], env: Record<string, string> = {}): Promise<T> {
  return new Promise((resolve, reject) => {
    const process_ = spawn(process.execPath, [script, ...args], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    let errors = "";
    process_.stdout.on("data", (chunk) => {
      output += String(chunk);
    });
    process_.stderr.on("data", (chunk) => {
      errors += String(chunk);
    });
    process_.on("close", (code) => {
      const line = output.trim().split("\n").at(-1) ?? "";
      if (code === 0 && line.startsWith("{")) resolve(JSON.parse(line) as T);
      else reject(new Error(errors.trim().split("\n").slice(-3).join(" ") || `ended with code ${code}`));
    });
  });
}

const hostRow = (name: string, direction: "host" | "start", times: Record<string, number>): Row => {
  const { refl, ...peersMs } = times;
  const row = {
    name,
    family: direction,
    direction,
    oursMs: refl ?? null,
    peersMs,
    checked: direction === "start",
    madMs: {},
  };
  return { ...row, ratio: fastestPeer(row)?.ratio ?? null };
};

/** Which of the extras `only` asks for. */
export function wantedExtras(only: string | null): { training: boolean; host: boolean; start: boolean; size: boolean } {
  const wants = (...words: string[]): boolean =>
    only === null || words.some((word) => word.includes(only.toLowerCase()));
  return {
    training: wants("step", "refl step", "reward step"),
    host: wants("host"),
    start: wants("start"),
    size: wants("size"),
  };
}

/** Runs what `only` asks for; what fails is told to `log` and left out. */
export async function runExtras(options: ExtrasOptions): Promise<Extras> {
  const { training, host, start, size } = wantedExtras(options.only);
  const extras: Extras = { rows: [], facts: [] };
  const attempt = async (name: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (cause) {
      options.log(`${name}: ${cause instanceof Error ? cause.message : String(cause)}`);
    }
  };
  if (training)
    for (const kind of ["refl", "reward"] as const)
      await attempt(`${kind} step`, () => trainingRow(kind, options, extras));
  if (host) await attempt("host", () => hostRows(options, extras));
  if (start) await attempt("start", () => startRows(options, extras));
  if (size) sizes(options, extras);
  return extras;
}

/** An empty folder for Mesa's shader cache, gone when `work` is done. */
async function withColdCache<T>(work: (env: Record<string, string>) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "refl-bench-cache-"));
  try {
    return await work({ MESA_SHADER_CACHE_DIR: folder });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Multiplications and additions of the product that a step's rate is compared with. */
const GEMM_FLOPS = 2 * 1024 ** 3;

async function trainingRow(
  kind: "refl" | "reward",
  { folder, log }: ExtrasOptions,
  { rows, facts }: Extras,
): Promise<void> {
  const name = kind === "refl" ? "ReFL step, emoji32" : "reward-model step, emoji32";
  const report = await withColdCache((env) => child<TrainingReport>(join(folder, "training.mjs"), [kind], env));
  log(`${name}: ${report.wall.median.toFixed(0)} ms`);
  rows.push({
    name,
    family: "step",
    direction: "step",
    oursMs: report.wall.median,
    peersMs: {},
    ratio: null,
    checked: false,
    madMs: { refl: report.wall.mad },
    ...(report.software && { cpuMs: { refl: report.cpu.median }, cpuMadMs: { refl: report.cpu.mad } }),
  });
  facts.push(
    { name: `${name}: distinct pipelines`, value: report.pipelines, unit: "" },
    { name: `${name}: dispatches`, value: report.dispatchesPerStep, unit: "per step" },
    { name: `${name}: peak memory`, value: report.peakBytes / 2 ** 20, unit: "MiB" },
    {
      name: `${name}: cold compilation`,
      value: (report.first.cpu - report.cpu.median) / 1000,
      unit: "s CPU of the driver's threads",
      note: "the first step without a shader cache, less a later one",
    },
    { name: `${name}: arithmetic`, value: report.flops / 1e9, unit: "GFLOP per step" },
  );
  if (report.software)
    facts.push({
      name: `${name}: rate`,
      value: (100 * (report.flops / report.cpu.median)) / (GEMM_FLOPS / report.gemmMs),
      unit: "% of a product's of 1024³ in the same process",
    });
}

/** Engines that have a report, by name. */
async function each<T>(
  script: string,
  { folder, bundles, peers, log }: ExtrasOptions,
  env?: Record<string, string>,
): Promise<Record<string, T>> {
  const found: Record<string, T> = {};
  // ONNX Runtime runs graphs, and no single ops.
  for (const name of ["refl", ...peers.filter((peer) => peer !== "ort-web")]) {
    try {
      found[name] = await child<T>(join(folder, script), [name, bundles], env);
    } catch (cause) {
      log(`${script} ${name}: ${cause instanceof Error ? cause.message : String(cause)}`);
    }
  }
  return found;
}

async function hostRows(options: ExtrasOptions, { rows }: Extras): Promise<void> {
  const reports = await each<HostReport>("host.mjs", options);
  const row = (name: string, pick: (report: HostReport) => number | null): void => {
    const times: Record<string, number> = {};
    for (const [engine, report] of Object.entries(reports)) {
      const micros = pick(report);
      if (micros !== null) times[engine] = micros / 1000;
    }
    rows.push(hostRow(name, "host", times));
    options.log(`${name}: ${((times["refl"] ?? Number.NaN) * 1000).toFixed(1)} µs`);
  };
  row("host: one eager add", (report) => report.eager);
  row("host: one replayed kernel", (report) => report.replayed);
  row("host: MLP training step", (report) => report.step);
}

const STARTS = 5;

async function startRows(options: ExtrasOptions, { rows }: Extras): Promise<void> {
  const cold: Record<string, number> = {};
  const warm: Record<string, number[]> = {};
  await withColdCache(async (env) => {
    for (let round = 0; round <= STARTS; round++)
      for (const [engine, { ms, correct }] of Object.entries(await each<StartReport>("start.mjs", options, env))) {
        if (!correct) options.log(`start: ${engine} gave a wrong product`);
        else if (round) (warm[engine] ??= []).push(ms);
        else cold[engine] = ms;
      }
  });
  const medians = Object.fromEntries(Object.entries(warm).map(([engine, times]) => [engine, median(times)]));
  const spread = Object.fromEntries(Object.entries(warm).map(([engine, times]) => [engine, mad(times)]));
  rows.push({ ...hostRow("start: import to first product, warm", "start", medians), madMs: spread });
  rows.push(hostRow("start: import to first product, no shader cache", "start", cold));
}

const BUNDLES: Readonly<Record<string, readonly string[]>> = {
  refl: ["refl-core.mjs"],
  "jax-js": ["jax.mjs"],
  tfjs: ["tfjs.mjs"],
  "ort-web": ["ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"],
  "webgpu-torch": ["webgpu-torch.mjs"],
};

function sizes({ bundles, peers }: ExtrasOptions, { facts }: Extras): void {
  for (const name of ["refl", ...peers]) {
    const bytes = BUNDLES[name]!.reduce((sum, file) => sum + gzipSync(readFileSync(join(bundles, file))).length, 0);
    facts.push({
      name: `size of ${name}`,
      value: bytes / 1000,
      unit: "KB gzip",
      ...(name === "refl" && { note: "all of tensor and autograd, minified" }),
    });
  }
}
