/** Dry runs: what a training would need and take on an adapter, found out by running its code on a device that computes nothing. */
import {
  type AdapterIdentity,
  addWork,
  DryDevice,
  OutOfMemoryError,
  totalFlops,
  type Work,
  workBetween,
  workTotals,
} from "@refl/tensor";
import type { Run, RunEvent } from "../events.ts";
import { nowhere } from "../run/nowhere.ts";
import type { JobContext } from "./context.ts";
import { begin, courseOf, type PartCourse, type PartSeconds } from "./course.ts";
import { KernelTimer } from "./kernel-timer.ts";
import { measureRates, type Rates, secondsOf } from "./rates.ts";
import { type Rehearsal, rehearse, type Training } from "./rehearsal.ts";
import { MEMORY_PARTS, type MemoryByPart, type ModelWeights, type PartWork, Watch } from "./watch.ts";

export type { Training } from "./rehearsal.ts";
export { MEMORY_PARTS, type MemoryByPart, type ModelWeights } from "./watch.ts";

/** What the steps of one stage take. */
export interface StageEstimate {
  readonly stage: string;
  readonly steps: number;
  /** Mean multiplications and additions of products in a step. */
  readonly flops: number;
  /** Mean kernels in a step. */
  readonly dispatches: number;
  readonly secondsPerStep: number;
}

export interface DryRunOptions {
  /** Seconds that timing the training may take; with its first steps the compilation of their shaders is not counted. Default 60. */
  readonly timingSeconds?: number;
}

/** What a training needs. */
export interface DryRunNeeds {
  readonly adapter: AdapterIdentity;
  readonly parameters: readonly ModelWeights[];
  /** Highest bytes in use, as `device.memory().peak` has it after the run, and what they are. */
  readonly peakBytes: number;
  /** The stage in which they are in use. */
  readonly peakStage: string;
  readonly memory: MemoryByPart;
  /** The largest tensor, and the most bytes that the adapter binds at once. */
  readonly largestTensor: { readonly label: string; readonly bytes: number; readonly limit: number };
}

/** What a dry run found. */
export interface DryRunReport extends DryRunNeeds {
  readonly stages: readonly StageEstimate[];
  /** Seconds of the whole run, from its models' loading to its last checkpoint, the compilation of shaders left out; an early stop makes it less. */
  readonly seconds: number;
  /** What was timed: the training's own first steps, or, where these take too long or need too much, its kernels one by one. */
  readonly timed: "steps" | "kernels";
  readonly rates: Rates;
}

/**
 * Runs a training's own code without its kernels and without memory, then, where a few steps fit into the time that there is, begins it on the context's device; where
 * not, its kernels are timed there alone. Everything that the run does is done once: weights are loaded (one at a time through the host's memory), steps captured
 * and replayed, pictures drawn, looks taken, checkpoints made and thrown away. So the peak is the run's own; steps beyond the twelfth are taken to be like those before.
 * Throws what the training would throw on its way.
 */
export async function* dryRun(
  training: Training,
  context: JobContext,
  { timingSeconds = 60 }: DryRunOptions = {},
): Run<DryRunReport> {
  const { device } = context;
  const rehearsal = rehearse(training);
  const dry = new DryDevice(device);
  const watch = new Watch(dry);
  try {
    const run = rehearsal.run({ ...context, device: dry, sink: nowhere, observer: watch });
    yield* watched(run, watch, rehearsal.invented);
    const needs: DryRunNeeds = {
      adapter: device.adapter,
      parameters: watch.parameters,
      peakBytes: dry.memory().peak,
      peakStage: watch.peakStage,
      memory: watch.memory,
      largestTensor: { ...dry.largest, limit: device.largestBinding },
    };
    yield* needsTables(needs);
    const rates = await measureRates(device, training.config.precision);
    const timed = await timeParts(rehearsal, watch, dry, context, rates, timingSeconds);
    const stages = stagesOf(watch, timed.course);
    const inParts = timed.course.reduce((all, { times, each, once }) => all + times * each + once, 0);
    const report: DryRunReport = { ...needs, stages, seconds: timed.outside + inParts, timed: timed.by, rates };
    yield* timeTables(report);
    yield { type: "result", summary: report };
    return report;
  } finally {
    dry.dispose();
  }
}

/** Steps that timing a training itself has to come to: the first that is not its kind's first is among them. */
const LEAST_STEPS = 3;

interface Timed {
  readonly course: readonly PartCourse[];
  readonly outside: number;
  readonly by: DryRunReport["timed"];
}

/** What the rehearsal's parts take, by running it if a few steps will fit into `seconds`, else by its kernels. */
async function timeParts(
  { run, times }: Rehearsal,
  watch: Watch,
  dry: DryDevice,
  context: JobContext,
  rates: Rates,
  seconds: number,
): Promise<Timed> {
  const { device } = context;
  const told = watch.parts.map(({ work, ...part }) => ({ ...part, seconds: toldSeconds(work, rates) }));
  if (secondsToSteps(told, LEAST_STEPS) <= seconds) {
    try {
      const begun = await begin((observer) => run({ ...context, sink: nowhere, observer }), device, seconds);
      return { course: courseOf(told, begun.parts, times), outside: begun.outside, by: "steps" };
    } catch (error) {
      // The adapter has less memory than the training needs, which the report tells; kernels need less.
      if (!(error instanceof OutOfMemoryError)) throw error;
    }
  }
  const timer = new KernelTimer(device, rates, seconds);
  try {
    const taken: PartSeconds[] = [];
    let inParts = NO_WORK;
    for (const { stage, part, works } of kindsOf(watch.parts)) {
      const work = works.reduce(addWork, NO_WORK);
      inParts = addWork(inParts, work);
      const each = (await timer.seconds(work)) / works.length;
      for (const _ of works) taken.push({ stage, part, seconds: each });
    }
    const outside = await timer.seconds(workBetween(inParts, dry.work));
    return { course: courseOf(taken, [], times), outside, by: "kernels" };
  } finally {
    timer.dispose();
  }
}

const NO_WORK: Work = new Map();

function toldSeconds(work: Work, rates: Rates): number {
  let seconds = 0;
  for (const [use, count] of work) seconds += count * secondsOf(use, rates);
  return seconds;
}

/** Seconds that are told until `count` steps are done, or all that there are. */
function secondsToSteps(told: readonly PartSeconds[], count: number): number {
  let seconds = 0;
  let steps = 0;
  for (const each of told) {
    seconds += each.seconds;
    if (each.part === "step" && ++steps === count) break;
  }
  return seconds;
}

/** Parts of the same stage together. */
function kindsOf(parts: readonly PartWork[]): (Omit<PartWork, "work"> & { readonly works: Work[] })[] {
  const kinds = new Map<string, Omit<PartWork, "work"> & { readonly works: Work[] }>();
  for (const { stage, part, work } of parts) {
    const key = `${stage}/${part}`;
    const kind = kinds.get(key) ?? { stage, part, works: [] };
    kind.works.push(work);
    kinds.set(key, kind);
  }
  return [...kinds.values()];
}

/** The steps of each stage that has some. */
function stagesOf({ parts }: Watch, course: readonly PartCourse[]): StageEstimate[] {
  return kindsOf(parts).flatMap(({ stage, part, works }) => {
    if (part !== "step") return [];
    const { times, each } = course.find((other) => other.stage === stage && other.part === part)!;
    const work = works.reduce(addWork, NO_WORK);
    const flops = totalFlops(work) / works.length;
    const dispatches = Math.round(workTotals(work).dispatches / works.length);
    return [{ stage, steps: times, flops, dispatches, secondsPerStep: each }];
  });
}

/** Passes nothing but warnings on, and these only where they are about the user's own data. */
async function* watched(run: Run<unknown>, watch: Watch, silent: boolean): AsyncGenerator<RunEvent, void, void> {
  for await (const event of run) {
    watch.event(event);
    if (event.type === "warning" && !silent) yield event;
  }
}

const count = (value: number): string => value.toLocaleString("en");
const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

function* needsTables({ parameters, memory, peakStage, peakBytes, largestTensor }: DryRunNeeds): Generator<RunEvent> {
  yield {
    type: "table",
    title: "Parameters",
    header: ["model", "trained", "frozen"],
    rows: parameters.map(({ model, trained, frozen }) => [model, count(trained), count(frozen)]),
  };
  const parts = MEMORY_PARTS.filter((part) => memory[part] > 0);
  yield {
    type: "table",
    title: `Memory at its peak, in stage ${peakStage}`,
    header: ["part", "memory"],
    rows: [...parts.map((part) => [part, mib(memory[part])]), ["all", mib(peakBytes)]],
  };
  const { bytes, limit } = largestTensor;
  yield { type: "note", message: `largest tensor: ${mib(bytes)} of ${mib(limit)} that the adapter binds at once` };
}

function* timeTables({ stages, seconds, timed, adapter }: DryRunReport): Generator<RunEvent> {
  yield {
    type: "table",
    title: "Steps",
    header: ["stage", "steps", "GFLOP per step", "kernels per step", "seconds per step"],
    rows: stages.map(({ stage, steps, flops, dispatches, secondsPerStep }) => [
      stage,
      steps,
      flops / 1e9,
      dispatches,
      secondsPerStep,
    ]),
  };
  const name = adapter.description || adapter.device || adapter.vendor || "unnamed adapter";
  const where = `${name}${adapter.software ? ", a software adapter" : ""}`;
  const how = timed === "steps" ? "its first steps" : "its kernels";
  yield {
    type: "note",
    message: `about ${seconds.toPrecision(3)} s in all on ${where}, from the time of ${how}; shaders' compilation is left out`,
  };
}
