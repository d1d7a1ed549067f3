/** How long a training takes: its rehearsal is begun on the adapter itself and timed part by part, and what it does not come to is told from what it did. */
import type { Device } from "@refl/tensor";
import type { Run, RunEvent, StageName } from "../events.ts";
import type { TrainingObserver, TrainingPart } from "../train/observer.ts";
import type { PartCounts } from "./rehearsal.ts";

/** A part of a rehearsal with seconds of one kind or another. */
export interface PartSeconds {
  readonly stage: StageName;
  readonly part: TrainingPart;
  readonly seconds: number;
}

/** What the first seconds of a rehearsal took. */
export interface Beginning {
  /** The parts that came to an end, in their order. */
  readonly parts: readonly PartSeconds[];
  /** Seconds outside of all parts: models loaded, weights packed, files opened. */
  readonly outside: number;
}

/** Takes the time of each part of a training, the compilation of its shaders and the parts inside it left out. */
class Stopwatch implements TrainingObserver {
  readonly #device: Device;
  readonly #parts: PartSeconds[] = [];
  readonly #inside: number[] = [];
  #outermost = 0;
  stage: StageName = "load";

  constructor(device: Device) {
    this.#device = device;
  }

  models(): void {}

  /** Seconds so far without compilation. */
  get now(): number {
    return performance.now() / 1000 - this.#device.counters.compileSeconds;
  }

  async part<T>(part: TrainingPart, work: () => Promise<T>): Promise<T> {
    const { stage } = this;
    const start = this.now;
    this.#inside.push(0);
    const result = await work();
    await this.#device.sync();
    const all = this.now - start;
    const own = all - this.#inside.pop()!;
    const outer = this.#inside.length - 1;
    if (outer >= 0) this.#inside[outer]! += all;
    else this.#outermost += all;
    this.#parts.push({ stage, part, seconds: own });
    return result;
  }

  get parts(): readonly PartSeconds[] {
    return this.#parts;
  }

  /** Seconds of all parts. */
  get inParts(): number {
    return this.#outermost;
  }
}

/** Runs a training for `seconds`, compilation left out, to the next event after them, or to its end. Whatever it leaves is thrown away. */
export async function begin(
  rehearse: (observer: TrainingObserver) => Run<unknown>,
  device: Device,
  seconds: number,
): Promise<Beginning> {
  const watch = new Stopwatch(device);
  const start = watch.now;
  const run = rehearse(watch);
  try {
    for (let next = await run.next(); !next.done && watch.now - start < seconds; next = await run.next())
      follow(watch, next.value);
  } finally {
    await run.return(undefined);
  }
  return { parts: watch.parts, outside: watch.now - start - watch.inParts };
}

function follow(watch: Stopwatch, event: RunEvent): void {
  if (event.type === "stage" && event.stage !== "compile") watch.stage = event.stage;
}

/** What one part of one stage takes. */
export interface PartCourse {
  readonly stage: StageName;
  readonly part: TrainingPart;
  /** How often the training has it. */
  readonly times: number;
  /** Seconds of it each time. */
  readonly each: number;
  /** Seconds beyond these that come once: plans recorded, memory first touched. */
  readonly once: number;
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

interface Kind {
  readonly told: number[];
  readonly taken: number[];
}

/**
 * From what was `told` of every part of the rehearsal, by the rates of an adapter, and what the `taken` ones among them took: what each part of the training
 * takes. The rates are off by a factor that is much the same for equal work, so the times of the steps that were taken give those of steps that grade at another point.
 */
export function courseOf(told: readonly PartSeconds[], taken: readonly PartSeconds[], times: PartCounts): PartCourse[] {
  const kinds = new Map<string, Kind & Pick<PartSeconds, "stage" | "part">>();
  const kindOf = ({ stage, part }: PartSeconds) => {
    const key = `${stage}/${part}`;
    const kind = kinds.get(key) ?? { stage, part, told: [], taken: [] };
    kinds.set(key, kind);
    return kind;
  };
  for (const each of told) kindOf(each).told.push(each.seconds);
  for (const each of taken) kindOf(each).taken.push(each.seconds);
  const timed = [...kinds.values()].filter((kind) => kind.taken.length && sum(kind.told) > 0);
  const usual =
    sum(timed.flatMap((kind) => kind.taken)) / sum(timed.flatMap(({ told, taken }) => told.slice(0, taken.length)));
  return [...kinds.values()].map(({ stage, part, ...kind }) => {
    const count = times[part] ?? kind.told.length;
    return { stage, part, times: count, ...paceOf(kind, usual) };
  });
}

/** What a kind of part takes each time, and once; `usual` is by how much the rates are off with others. */
function paceOf({ told, taken }: Kind, usual: number): { each: number; once: number } {
  const mean = sum(told) / told.length;
  if (taken.length === 0) return { each: mean * (Number.isFinite(usual) ? usual : 1), once: 0 };
  // Nothing is told of what the host does alone.
  if (mean === 0) return { each: sum(taken) / taken.length, once: 0 };
  const of = told.slice(0, taken.length);
  const settled = settledOf(of);
  const isSettled = new Set(settled);
  const ratio = sum(settled.map((i) => taken[i]!)) / sum(settled.map((i) => of[i]!));
  const beyond = of.map((seconds, i) => (isSettled.has(i) ? 0 : Math.max(0, taken[i]! - ratio * seconds)));
  return { each: ratio * mean, once: (sum(beyond) * new Set(told).size) / new Set(of).size };
}

/**
 * Which times of a part stand for all that come later: those of work that came twice before (op by op, then recorded), else those of work that came once before, else all.
 * Equal work is told equal seconds.
 */
function settledOf(told: readonly number[]): number[] {
  const cameBefore = told.map((seconds, i) => told.slice(0, i).filter((before) => before === seconds).length);
  for (const least of [2, 1]) {
    const settled = cameBefore.flatMap((times, i) => (times >= least ? [i] : []));
    if (settled.length) return settled;
  }
  return told.map((_, i) => i);
}
