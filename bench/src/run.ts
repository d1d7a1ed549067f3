/** Runs the kernel and step rows on one adapter: checks every engine against float64, then times them interleaved. */
import type { Device, TuneMode } from "@refl/tensor";
import type { Clock } from "./clock.ts";
import type { Engine, PeerHost, StartPeer } from "./engines/engine.ts";
import { startJax } from "./engines/jax.ts";
import { startOrt } from "./engines/ort.ts";
import { ours } from "./engines/ours.ts";
import { startTfjs } from "./engines/tfjs.ts";
import { startWebgpuTorch } from "./engines/webgpu-torch.ts";
import { Door } from "./entry.ts";
import { runLadder, selectLadders } from "./ladder.ts";
import { type Entrant, type MeasureOptions, measure, type Timing } from "./measure.ts";
import { measurePeak, type Peak } from "./probe/roofline.ts";
import { reference } from "./reference/reference.ts";
import { type BenchResult, type Fact, fastestPeer, overallGeomean, type Row } from "./report/result.ts";
import { type RowSpec, selectRows } from "./rows.ts";
import { bytes, drawInputs, flops } from "./work.ts";

export const PEERS: Readonly<Record<string, StartPeer>> = {
  "jax-js": startJax,
  tfjs: startTfjs,
  "ort-web": startOrt,
  "webgpu-torch": startWebgpuTorch,
};

export interface RunOptions {
  readonly size: "quick" | "full";
  /** Rows whose name or family holds this; null for all. */
  readonly only: string | null;
  readonly peers: readonly string[];
  /** How this engine's kernels are chosen; the device is made with it. */
  readonly tune: TuneMode;
  readonly measure: MeasureOptions;
  /** An engine without its first result of a row by then is left out of it. */
  readonly limitMs: number;
}

/** What a host lends the run. */
export interface BenchHost {
  readonly name: string;
  readonly clock: Clock;
  readonly peers: PeerHost;
  /** Told what happens, a line at a time. */
  log(line: string): void;
  /** Now, as ISO 8601. */
  date(): string;
  readonly version: string;
}

const message = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause)).split("\n")[0]!;

async function startEngines(
  device: Device,
  host: BenchHost,
  names: readonly string[],
): Promise<{ engines: Engine[]; facts: Fact[] }> {
  const engines = [ours(device, host.version)];
  const facts: Fact[] = [];
  for (const name of names) {
    const start = host.clock.wall();
    try {
      engines.push(await PEERS[name]!(host.peers));
      const seconds = (host.clock.wall() - start) / 1000;
      host.log(`${name} started in ${seconds.toFixed(1)} s`);
    } catch (cause) {
      host.log(`${name} does not start here: ${message(cause)}`);
      facts.push({ name: `${name} did not start`, value: 0, unit: "", note: message(cause) });
    }
  }
  return { engines, facts };
}

/** All rows of `options`, in their order; `onRow` sees the result so far after each. */
export async function runRows(
  device: Device,
  host: BenchHost,
  options: RunOptions,
  onRow: (result: BenchResult) => void | Promise<void> = () => {},
): Promise<BenchResult> {
  const { vendor, architecture, device: chip, description, software } = device.adapter;
  const { engines, facts } = await startEngines(device, host, options.peers);
  const peak = await measurePeak(device.gpu, host.clock, host.peers.settle);
  const door = new Door(options.limitMs);
  const rows: Row[] = [];
  const result = (): BenchResult => ({
    adapter: [vendor, architecture, chip, description].filter(Boolean).join(" "),
    software,
    host: host.name,
    date: host.date(),
    size: options.size,
    tune: options.tune,
    engines: Object.fromEntries(engines.map(({ name, version }) => [name, version])),
    peak,
    rows,
    facts,
    geomean: overallGeomean(rows),
  });
  for (const spec of selectLadders(options.only)) {
    rows.push(...(await runLadder(spec, device, host, options.measure)));
    await onRow(result());
  }
  for (const spec of selectRows(options.size, options.only)) {
    const row = await runRow(spec, engines, door, host, options.measure, peak);
    rows.push(row);
    const best = row.ratio === null ? "" : `, ${row.ratio.toFixed(2)}× the fastest peer`;
    host.log(`${row.name}: ${row.oursMs === null ? "failed" : `${row.oursMs.toFixed(2)} ms`}${best}`);
    for (const [name, note] of Object.entries(row.notes ?? {})) host.log(`  ${name}: ${note}`);
    await onRow(result());
  }
  return result();
}

async function runRow(
  spec: RowSpec,
  engines: readonly Engine[],
  door: Door,
  host: BenchHost,
  options: MeasureOptions,
  peak: Peak,
): Promise<Row> {
  const inputs = drawInputs(spec.work);
  const expected = reference(spec.work, inputs);
  const entrants: Entrant[] = [];
  const notes: Record<string, string> = {};
  const errors: Record<string, number> = {};
  for (const engine of engines) {
    try {
      const entry = await door.enter(engine, spec, inputs, expected);
      if (!entry) continue;
      errors[engine.name] = entry.error;
      entrants.push({ engine, program: entry.program });
    } catch (cause) {
      notes[engine.name] = message(cause);
    }
  }
  const timings = await measure(entrants, host.clock, options);
  const kernels = await kernelsOf(entrants);
  for (const [i, { engine, program }] of entrants.entries()) {
    try {
      await program.dispose();
    } catch (cause) {
      host.log(`${engine.name} fails to free ${spec.name}: ${message(cause)}`);
    }
    const timing = timings[i]!;
    if (timing instanceof Error) notes[engine.name] = message(timing);
  }
  return toRow(spec, entrants, timings, { notes, errors, kernels, peak, threads: host.clock.threads });
}

/** What this engine's iteration runs; nothing where that cannot be told. */
async function kernelsOf(entrants: readonly Entrant[]): Promise<readonly string[]> {
  try {
    return (await entrants.find(({ engine }) => engine.name === "refl")?.program.kernels?.()) ?? [];
  } catch {
    // An iteration that fails has failed in its timing too, which tells why.
    return [];
  }
}

interface RowParts {
  readonly notes: Record<string, string>;
  readonly errors: Record<string, number>;
  readonly kernels: readonly string[];
  readonly peak: Peak;
  readonly threads: number;
}

function toRow(
  spec: RowSpec,
  entrants: readonly Entrant[],
  timings: readonly (Timing | Error)[],
  parts: RowParts,
): Row {
  const { notes, errors, kernels, peak, threads } = parts;
  const wall: Record<string, number> = {};
  const madMs: Record<string, number> = {};
  const cpuMs: Record<string, number> = {};
  const cpuMadMs: Record<string, number> = {};
  entrants.forEach(({ engine: { name } }, i) => {
    const timing = timings[i]!;
    if (timing instanceof Error) return;
    const { wall: w, cpu } = timing;
    wall[name] = w.median;
    madMs[name] = w.mad;
    if (!cpu) return;
    cpuMs[name] = cpu.median;
    cpuMadMs[name] = cpu.mad;
  });
  const { refl, ...peersMs } = wall;
  const onCpu = Object.keys(cpuMs).length > 0;
  const seconds = (onCpu ? (cpuMs["refl"] ?? 0) / threads : (refl ?? 0)) / 1000;
  const work = flops(spec.work);
  const least = Math.max(work / (peak.gflops * 1e9), bytes(spec.work) / (peak.gbytes * 1e9));
  const row: Omit<Row, "ratio"> = {
    name: spec.name,
    family: spec.family,
    direction: spec.direction,
    oursMs: refl ?? null,
    peersMs,
    checked: refl !== undefined,
    madMs,
    work: spec.work,
    errors,
    ...(onCpu && { cpuMs, cpuMadMs }),
    ...(refl !== undefined && { roofline: least / seconds }),
    ...(refl !== undefined && work > 0 && { gflops: work / seconds / 1e9 }),
    ...(kernels.length > 0 && { kernels }),
    ...(Object.keys(notes).length > 0 && { notes }),
  };
  return { ...row, ratio: fastestPeer(row)?.ratio ?? null };
}
