/** What a plan is made of: its kernels with their counts, bytes, arithmetic and times, and its memory. */
import { flopsOf } from "@refl/kernels-wgsl";
import type { AdapterIdentity, Device } from "../device.ts";
import type { KernelEvent } from "../profile.ts";
import type { Binding, Step, Value } from "./record.ts";

/** Memory of a plan in bytes. */
export interface PlanMemory {
  /** The arena that its values lie in, shared or not. */
  readonly arena: number;
  /** What this plan alone needs of it. */
  readonly planned: number;
  /** The most that any step finds in use: what a perfect layout would need. */
  readonly lowerBound: number;
  /** Parameter blocks. */
  readonly parameters: number;
}

/** All dispatches of one kernel. */
export interface KernelCost {
  /** Name of the pipeline, or `copy` for copies between buffers. */
  readonly name: string;
  readonly count: number;
  /** Bytes of the values that it binds, each once per dispatch: about what it moves, and more where it uses only a part of one. */
  readonly bytes: number;
  /** Multiplications and additions of products; 0 for kernels that memory bounds. */
  readonly flops: number;
  /** Null where it was not measured. */
  readonly milliseconds: number | null;
}

export interface PlanExplanation {
  readonly label: string;
  readonly adapter: AdapterIdentity;
  readonly dispatches: number;
  readonly copies: number;
  /** Distinct pipelines. */
  readonly pipelines: number;
  readonly memory: PlanMemory;
  readonly bytes: number;
  readonly flops: number;
  readonly milliseconds: number | null;
  /** By time where it was measured, else by arithmetic and count. */
  readonly kernels: readonly KernelCost[];
}

interface Explained {
  readonly device: Device;
  readonly label: string;
  readonly steps: readonly Step[];
  readonly memory: PlanMemory;
}

/** Adds up the steps of a plan, and the times of its dispatches where `events` has one for each. */
export function explainPlan(plan: Explained, events: readonly KernelEvent[] | null): PlanExplanation {
  const rows = new Map<string, { count: number; bytes: number; flops: number; milliseconds: number | null }>();
  const pipelines = new Set<number>();
  let dispatches = 0;
  for (const step of plan.steps) {
    const name = step.kind === "copy" ? "copy" : step.program.pipeline.label;
    let row = rows.get(name);
    if (!row) rows.set(name, (row = { count: 0, bytes: 0, flops: 0, milliseconds: null }));
    row.count++;
    if (step.kind === "copy") {
      row.bytes += 2 * step.bytes;
      continue;
    }
    row.bytes += boundBytes(step.bindings);
    row.flops += flopsOf(step.kernel.name, step);
    if (events) row.milliseconds = (row.milliseconds ?? 0) + events[dispatches]!.milliseconds;
    pipelines.add(step.program.id);
    dispatches++;
  }
  const kernels = [...rows].map(([name, row]): KernelCost => ({ name, ...row }));
  kernels.sort((a, b) => (b.milliseconds ?? 0) - (a.milliseconds ?? 0) || b.flops - a.flops || b.count - a.count);
  const total = (of: (kernel: KernelCost) => number): number => kernels.reduce((sum, kernel) => sum + of(kernel), 0);
  return {
    label: plan.label,
    adapter: plan.device.adapter,
    dispatches,
    copies: plan.steps.length - dispatches,
    pipelines: pipelines.size,
    memory: plan.memory,
    bytes: total(({ bytes }) => bytes),
    flops: total(({ flops }) => flops),
    milliseconds: events && total(({ milliseconds }) => milliseconds ?? 0),
    kernels,
  };
}

function boundBytes(bindings: readonly Binding[]): number {
  const seen = new Set<Value>();
  let bytes = 0;
  for (const binding of bindings) {
    if (seen.has(binding.value)) continue;
    seen.add(binding.value);
    bytes += binding.bytes || binding.value.bytes - binding.offset;
  }
  return bytes;
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** The plan in one line. */
export function summary({ label, dispatches, copies, pipelines, memory, flops }: PlanExplanation): string {
  const { planned, lowerBound } = memory;
  const layout = lowerBound ? `, ${(planned / lowerBound).toFixed(2)} of the least` : "";
  return `${label}: ${dispatches} dispatches of ${pipelines} pipelines, ${copies} copies, ${(flops / 1e9).toFixed(3)} GFLOP, memory ${mib(planned)}${layout}`;
}

/** The plan as a table: the summary, then a line for each kernel. A software adapter is named as one. */
export function formatExplanation(explanation: PlanExplanation): string {
  const { adapter, kernels, milliseconds } = explanation;
  const timed = milliseconds !== null;
  const header = ["kernel", "count", "MiB", "GFLOP", ...(timed ? ["ms", "%", "GFLOP/s"] : [])];
  const rows = kernels.map((kernel) => {
    const ms = kernel.milliseconds ?? 0;
    const times = timed
      ? [
          ms.toFixed(2),
          milliseconds ? ((100 * ms) / milliseconds).toFixed(1) : "",
          kernel.flops && ms ? (kernel.flops / ms / 1e6).toFixed(1) : "",
        ]
      : [];
    const flops = kernel.flops ? (kernel.flops / 1e9).toFixed(3) : "";
    return [kernel.name, String(kernel.count), (kernel.bytes / 2 ** 20).toFixed(1), flops, ...times];
  });
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join("  ")
      .trimEnd();
  const name = adapter.description || adapter.device || adapter.vendor || "unnamed adapter";
  const where = `on ${name}${adapter.software ? " (software adapter)" : ""}${timed ? `: ${milliseconds.toFixed(1)} ms in kernels` : ""}`;
  return [summary(explanation), where, line(header), ...rows.map(line)].join("\n");
}
