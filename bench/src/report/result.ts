/** What a run of the benchmark writes down. */
import { geomean } from "../stats.ts";
import type { Work } from "../work.ts";

export interface Row {
  readonly name: string;
  readonly family: string;
  readonly direction: "forward" | "backward" | "step" | "host" | "start";
  /** Median wall milliseconds of this engine; null where it has not run. */
  readonly oursMs: number | null;
  /** Median wall milliseconds by peer. */
  readonly peersMs: Readonly<Record<string, number>>;
  /** Fastest peer over ours: above 1 this engine is faster. Null without a peer. On a software adapter of CPU times, else of wall times. */
  readonly ratio: number | null;
  /** Whether all times are of results that agreed with the float64 reference; rows that compute none are checked by nothing. */
  readonly checked: boolean;
  /** Median absolute deviations of the wall times, by engine. */
  readonly madMs: Readonly<Record<string, number>>;
  /** Median CPU milliseconds of the driver's threads, by engine; only on software adapters. */
  readonly cpuMs?: Readonly<Record<string, number>>;
  readonly cpuMadMs?: Readonly<Record<string, number>>;
  /** What is computed, for scripts that time the same elsewhere; absent where that is no single function. */
  readonly work?: Work;
  /** Largest relative error against float64, by engine. */
  readonly errors?: Readonly<Record<string, number>>;
  /** Share of the roofline min(peak FLOP/s, FLOPs / bytes · peak bytes/s) that this engine reaches. */
  readonly roofline?: number;
  /** Of products and convolutions: 10⁹ floating-point operations a second (on a software adapter, of CPU seconds × its threads). */
  readonly gflops?: number;
  /** This engine's kernels of at least a tenth of the time, the longest first. */
  readonly kernels?: readonly string[];
  /** Of a rung: its GFLOP/s over those of the ladder's fastest. */
  readonly ofBest?: number;
  /** PyTorch's milliseconds for the same shapes, by device, from another process. */
  readonly torchMs?: Readonly<Record<string, number>>;
  /** Why an engine has no time here, by engine. */
  readonly notes?: Readonly<Record<string, string>>;
}

/** A figure that is no time of a row. */
export interface Fact {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly note?: string;
}

export interface BenchResult {
  readonly adapter: string;
  readonly software: boolean;
  readonly host: string;
  /** ISO 8601. */
  readonly date: string;
  readonly size: "quick" | "full";
  /** How this engine's kernels were chosen. */
  readonly tune?: "off" | "cached" | "online";
  /** Engines and their versions. */
  readonly engines: Readonly<Record<string, string>>;
  /** What this adapter reached in probe kernels. */
  readonly peak: { readonly gflops: number; readonly gbytes: number } | null;
  readonly rows: readonly Row[];
  readonly facts: readonly Fact[];
  /** Geometric mean of the ratios of all kernel and step rows that a peer ran; null without any. */
  readonly geomean: number | null;
}

/** The times that ratios are taken from: CPU times where there are any. */
export function compared(row: Row, name: string): number | undefined {
  if (row.cpuMs) return row.cpuMs[name];
  return name === "refl" ? (row.oursMs ?? undefined) : row.peersMs[name];
}

/** The fastest peer and how many times its time is ours; null without a peer or a time of ours. */
export function fastestPeer(row: Omit<Row, "ratio">): { name: string; ratio: number } | null {
  const mine = compared(row as Row, "refl");
  let best: { name: string; ratio: number } | null = null;
  for (const name of Object.keys(row.peersMs)) {
    const time = compared(row as Row, name);
    if (time === undefined || !mine) continue;
    if (!best || time / mine < best.ratio) best = { name, ratio: time / mine };
  }
  return best;
}

export function overallGeomean(rows: readonly Row[]): number | null {
  const ratios = rows
    .filter(({ direction }) => direction !== "host" && direction !== "start")
    .map(({ ratio }) => ratio)
    .filter((ratio): ratio is number => ratio !== null);
  return ratios.length ? geomean(ratios) : null;
}

const isNumber = (x: unknown): boolean => typeof x === "number" && Number.isFinite(x);
const isTimes = (x: unknown): boolean => typeof x === "object" && x !== null && Object.values(x).every(isNumber);

/** What is wrong with a parsed result file; nothing when it is one. */
export function problemsOf(result: unknown): string[] {
  const problems: string[] = [];
  if (typeof result !== "object" || result === null) return ["not an object"];
  const r = result as Record<string, unknown>;
  for (const key of ["adapter", "host", "date"]) if (typeof r[key] !== "string") problems.push(`${key}: not a string`);
  if (typeof r["software"] !== "boolean") problems.push("software: not a boolean");
  if (r["geomean"] !== null && !isNumber(r["geomean"])) problems.push("geomean: not a number or null");
  if (!Array.isArray(r["rows"])) return [...problems, "rows: not an array"];
  for (const [i, value] of r["rows"].entries()) {
    const row = value as Record<string, unknown>;
    for (const key of ["name", "family", "direction"])
      if (typeof row[key] !== "string") problems.push(`rows[${i}].${key}: not a string`);
    for (const key of ["oursMs", "ratio"])
      if (row[key] !== null && !isNumber(row[key])) problems.push(`rows[${i}].${key}: not a number or null`);
    if (!isTimes(row["peersMs"])) problems.push(`rows[${i}].peersMs: not numbers by name`);
    if (typeof row["checked"] !== "boolean") problems.push(`rows[${i}].checked: not a boolean`);
  }
  return problems;
}
