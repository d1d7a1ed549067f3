/** Dry runs: what a training would need and take on an adapter, found out by running its code on a device that computes nothing. */
import { type Module, memoryFolder, type WritableModelFolder } from "@refl/models";
import { type AdapterIdentity, addWork, DryDevice, totalFlops, type Work, workBetween, workTotals } from "@refl/tensor";
import type { TrainBaseConfig } from "../config/train-base.ts";
import type { TrainReflConfig } from "../config/train-refl.ts";
import type { TrainRewardConfig } from "../config/train-reward.ts";
import { uniformAt } from "../data/random.ts";
import { trainPrompts } from "../data/splits/train.ts";
import { taskNamed } from "../data/tasks.ts";
import type { Run, RunEvent } from "../events.ts";
import type { RunSink } from "../run/sink.ts";
import type { ExampleSource } from "../train/examples.ts";
import type { RankedPictures } from "../train/pairs.ts";
import type { TrainingObserver } from "../train/session.ts";
import { runTrainBase } from "./base.ts";
import type { JobContext } from "./context.ts";
import { KernelTimer } from "./kernel-timer.ts";
import { drawAndRank } from "./ranking.ts";
import { measureRates, type Rates } from "./rates.ts";
import { runTrainRefl, type TrainReflOptions } from "./refl.ts";
import { runTrainReward } from "./reward.ts";
import { loadPipeline } from "./sampler.ts";

/** A training that could be run. */
export type Training =
  | { readonly kind: "base"; readonly config: TrainBaseConfig; readonly examples?: ExampleSource }
  | { readonly kind: "reward"; readonly config: TrainRewardConfig; readonly rankings?: readonly RankedPictures[] }
  | { readonly kind: "refl"; readonly config: TrainReflConfig; readonly options?: Omit<TrainReflOptions, "resume"> };

/** Weights of a model, in elements. */
export interface ModelWeights {
  readonly model: string;
  readonly trained: number;
  readonly frozen: number;
}

/** What the memory of a run is for. */
export const MEMORY_PARTS = [
  "trained weights",
  "frozen weights",
  "gradients",
  "optimiser state",
  "moving average",
  "best weights so far",
  "activations",
  "kernel parameters and inputs",
] as const;

/** Bytes of each part at the moment when the run has most in use. Activations are those saved for the way back and all temporary values. */
export type MemoryByPart = Readonly<Record<(typeof MEMORY_PARTS)[number], number>>;

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
  /** Seconds that timing the training's kernels may take, the compilation of their shaders included. Default 20. */
  readonly timingSeconds?: number;
}

/** What a dry run found. */
export interface DryRunReport {
  readonly adapter: AdapterIdentity;
  readonly parameters: readonly ModelWeights[];
  /** Highest bytes in use, as `device.memory().peak` has it after the run, and what they are. */
  readonly peakBytes: number;
  /** The stage in which they are in use. */
  readonly peakStage: string;
  readonly memory: MemoryByPart;
  /** The largest tensor, and the most bytes that the adapter binds at once. */
  readonly largestTensor: { readonly label: string; readonly bytes: number; readonly limit: number };
  readonly stages: readonly StageEstimate[];
  /** Seconds of all steps and everything between them, the compilation of shaders left out; an early stop makes it less. */
  readonly seconds: number;
  readonly rates: Rates;
}

const NO_WORK: Work = new Map();

/** Steps that are run dry at most: enough for each point of the sampler that ReFL grades at to have come up. */
const STEPS = 12;

/** A folder that takes every file, piece by piece, and keeps none. */
const drain: WritableModelFolder = {
  ...memoryFolder(new Map(), "nowhere"),
  async write(_, data) {
    if (!(data instanceof Uint8Array)) for await (const piece of data) void piece;
  },
  writeJson: async () => {},
};

/** Takes everything and keeps nothing. */
const nowhere: RunSink = {
  location: "nowhere",
  writeConfig: async () => {},
  readConfig: async () => null,
  appendMetrics: async () => {},
  truncateMetrics: async () => {},
  writeSamples: async () => "",
  async writeCheckpoint(step, write) {
    await write(drain);
    return { step, path: "" };
  },
  findLatestCheckpoint: async () => undefined,
  findBestCheckpoint: async () => undefined,
  openCheckpoint: async () => drain,
  writeFile: async () => "",
  async writeFolder(_, write) {
    await write(drain);
    return "";
  },
};

/** Watches a training on a dry device: where its memory, steps and work go. */
class Watch implements TrainingObserver {
  readonly #device: DryDevice;
  readonly #models = new Map<string, ModelWeights>();
  /** State-dict keys of all weights: what storages outside of the packed ones are labelled with. */
  readonly #keys = new Set<string>();
  readonly #stages = new Map<string, { steps: number; work: Work }>();
  #steps: { steps: number; work: Work } = { steps: 0, work: NO_WORK };
  #peak = 0;
  #stage = "";
  /** The stage of the last event before which the peak rose. */
  #peakStage = "";

  constructor(device: DryDevice) {
    this.#device = device;
  }

  models(models: Readonly<Record<string, Module>>): void {
    for (const [model, module] of Object.entries(models)) {
      const sizes = { trained: 0, frozen: 0 };
      for (const [key, slot] of module.namedSlots()) {
        for (const [name] of slot.named(key)) this.#keys.add(name);
        this.#keys.add(key);
        sizes[slot.frozen ? "frozen" : "trained"] += slot.shape.reduce((product, size) => product * size, 1);
      }
      if (!this.#models.has(model)) this.#models.set(model, { model, ...sizes });
    }
  }

  step<T>(compute: () => T): T {
    const before = this.#device.work;
    const result = compute();
    const { steps, work } = this.#steps;
    this.#steps = { steps: steps + 1, work: addWork(work, workBetween(before, this.#device.work)) };
    return result;
  }

  event(event: RunEvent): void {
    const { peak } = this.#device.memory();
    if (peak > this.#peak && this.#stage) this.#peakStage = this.#stage;
    this.#peak = peak;
    if (event.type === "stage" && event.stage !== "compile") this.#stage = event.stage;
    if (event.type !== "step" || !this.#steps.steps) return;
    const before = this.#stages.get(event.stage) ?? { steps: 0, work: NO_WORK };
    const { work } = this.#steps;
    this.#stages.set(event.stage, { steps: before.steps + 1, work: addWork(before.work, work) });
    this.#steps = { steps: 0, work: NO_WORK };
  }

  get parameters(): ModelWeights[] {
    return [...this.#models.values()];
  }

  /** Steps by stage with the work of them all. */
  get stages(): ReadonlyMap<string, { readonly steps: number; readonly work: Work }> {
    return this.#stages;
  }

  get peakStage(): string {
    return this.#peakStage;
  }

  get memory(): MemoryByPart {
    const parts = Object.fromEntries(MEMORY_PARTS.map((part) => [part, 0])) as Record<keyof MemoryByPart, number>;
    for (const { label, bytes } of this.#device.atPeak) parts[this.#partOf(label)] += bytes;
    return parts;
  }

  #partOf(label: string): keyof MemoryByPart {
    if (this.#keys.has(label)) return "frozen weights";
    if (label.startsWith("input ")) return "kernel parameters and inputs";
    return PARTS_BY_LABEL[label] ?? "activations";
  }
}

const PARTS_BY_LABEL: Readonly<Record<string, keyof MemoryByPart>> = {
  parameters: "trained weights",
  "f16 parameters": "trained weights",
  gradients: "gradients",
  optimizer: "optimiser state",
  ema: "moving average",
  snapshot: "best weights so far",
  "plan parameters": "kernel parameters and inputs",
  constant: "kernel parameters and inputs",
};

/** How often the dry run and the run do what stands between their steps (pictures, looks), and the run's steps. */
interface Schedule {
  readonly dry: number;
  readonly run: number;
  readonly steps: number;
}

/**
 * Runs a training's own code without its kernels and without memory, and times its kernels on the context's device. Everything that the run does is done once:
 * weights are loaded (one at a time through the host's memory), steps captured and replayed, pictures drawn, looks taken, checkpoints made and thrown away. So the peak is
 * the run's own; steps beyond the twelfth are taken to be like those before. Throws what the training would throw on its way.
 */
export async function* dryRun(
  training: Training,
  context: JobContext,
  { timingSeconds = 20 }: DryRunOptions = {},
): Run<DryRunReport> {
  const { device } = context;
  const dry = new DryDevice(device);
  const watch = new Watch(dry);
  const inner: JobContext = { ...context, device: dry, sink: nowhere, observer: watch };
  try {
    const { run, schedule } = rehearsal(training, inner);
    yield* watched(run, watch, rankingsAreInvented(training));
    const rates = await measureRates(device, training.config.precision);
    const timer = new KernelTimer(device, rates, timingSeconds);
    const stages: StageEstimate[] = [];
    let between = 0;
    try {
      let all = NO_WORK;
      for (const [stage, { steps, work }] of watch.stages) {
        all = addWork(all, work);
        stages.push({
          stage,
          steps: schedule.steps,
          flops: totalFlops(work) / steps,
          dispatches: Math.round(workTotals(work).dispatches / steps),
          secondsPerStep: (await timer.seconds(work)) / steps,
        });
      }
      between = await timer.seconds(workBetween(all, dry.work));
    } finally {
      timer.dispose();
    }
    const report: DryRunReport = {
      adapter: device.adapter,
      parameters: watch.parameters,
      peakBytes: dry.memory().peak,
      peakStage: watch.peakStage,
      memory: watch.memory,
      largestTensor: { ...dry.largest, limit: device.largestBinding },
      stages,
      seconds:
        stages.reduce((sum, { steps, secondsPerStep }) => sum + steps * secondsPerStep, 0) +
        (between * schedule.run) / schedule.dry,
      rates,
    };
    yield* tables(report);
    yield { type: "result", summary: report };
    return report;
  } finally {
    dry.dispose();
  }
}

/** The training with as few steps as show all that it does. */
function rehearsal(training: Training, context: JobContext): { run: Run<unknown>; schedule: Schedule } {
  if (training.kind === "base") {
    const { config, examples } = training;
    const steps = Math.min(config.steps, 2);
    return {
      run: runTrainBase({ ...config, steps, sampleEvery: steps }, context, examples ? { examples } : {}),
      schedule: { dry: 1, run: Math.ceil(config.steps / config.sampleEvery), steps: config.steps },
    };
  }
  if (training.kind === "refl") {
    const { config, options } = training;
    const steps = Math.min(config.steps, STEPS);
    const earlyStop = config.earlyStop && { ...config.earlyStop, everySteps: steps };
    const looks = config.earlyStop ? 1 + Math.ceil(config.steps / config.earlyStop.everySteps) : 0;
    const grids = 1 + Math.ceil(config.steps / config.sampleEvery);
    return {
      run: runTrainRefl({ ...config, steps, earlyStop, sampleEvery: steps }, context, options),
      schedule: { dry: earlyStop ? 4 : 2, run: looks + grids, steps: config.steps },
    };
  }
  const { config, rankings } = training;
  const ranked = rankings ?? inventedRankings(config);
  const found = rankings ? 0 : config.foundPrompts;
  const perEpoch = Math.ceil((ranked.length * (1 - config.validationShare) + found) / config.rankingsPerStep);
  return {
    run: rewardRehearsal({ ...config, epochs: 1 }, context, ranked, rankingsAreInvented(training)),
    schedule: { dry: 1, run: 1, steps: perEpoch * config.epochs },
  };
}

/** Draws what would be ranked, and trains on rankings that need no picture to be looked at. */
async function* rewardRehearsal(
  config: TrainRewardConfig,
  context: JobContext,
  rankings: readonly RankedPictures[],
  draws: boolean,
): Run<unknown> {
  if (draws) {
    const task = taskNamed(config.task);
    const folder = config.base ? await context.open(config.base) : (await context.shipped(task.name)).base;
    const base = await loadPipeline(folder, context.device, config.sampler);
    try {
      yield* drawAndRank(task, base, trainPrompts(task, config.prompts, config.seed), config, {});
    } finally {
      base.dispose();
    }
  }
  return yield* runTrainReward(config, context, { rankings });
}

/** Rankings without ties of noise, as many as the annotator would make, with those of found pictures. */
function inventedRankings({
  task: name,
  prompts,
  foundPrompts,
  imagesPerPrompt,
  seed,
}: TrainRewardConfig): RankedPictures[] {
  const task = taskNamed(name);
  const values = 3 * task.size * task.size;
  const rgb = Array.from({ length: imagesPerPrompt }, (_, place) =>
    Uint8Array.from({ length: values }, (_, i) => 255 * uniformAt(seed, place, i)),
  );
  const ranking = rgb.map((_, place) => place + 1);
  return trainPrompts(task, prompts + foundPrompts, seed).map(({ text: prompt }) => ({ prompt, rgb, ranking }));
}

const rankingsAreInvented = (training: Training): boolean => training.kind === "reward" && !training.rankings;

/** Passes nothing but warnings on, and these only where they are about the user's own data. */
async function* watched(run: Run<unknown>, watch: Watch, silent: boolean): AsyncGenerator<RunEvent, void, void> {
  for await (const event of run) {
    watch.event(event);
    if (event.type === "warning" && !silent) yield event;
  }
}

const count = (value: number): string => value.toLocaleString("en");
const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

function* tables({
  parameters,
  memory,
  peakStage,
  peakBytes,
  largestTensor,
  stages,
  seconds,
  adapter,
}: DryRunReport): Generator<RunEvent> {
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
  yield {
    type: "note",
    message: `about ${seconds.toPrecision(3)} s in all on ${where}, shaders' compilation left out`,
  };
}
