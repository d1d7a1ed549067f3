/** What every trainer has in common: packed weights with AdamW and a moving average, one guarded step, and a state that resumes bit for bit. */
import {
  AdamW,
  backward,
  ExponentialMovingAverage,
  emaDecay,
  GradScaler,
  type GradScalerOptions,
  ParameterGroup,
} from "@refl/autograd";
import {
  entryToFloat32,
  type ModelFolder,
  type Module,
  openSafetensors,
  readTensors,
  type SafetensorsFile,
  streamTensors,
  type WritableModelFolder,
} from "@refl/models";
import {
  CheckpointError,
  cat,
  type Device,
  DivergedError,
  DTypeError,
  type HostTensors,
  type Outputs,
  ReplayedFunction,
  type Tensor,
  type Variant,
} from "@refl/tensor";
import type { TrainingObserver } from "./observer.ts";

/** What models compute and keep activations in. `f16` is mixed precision: weights, gradients of weights, moments and averages stay f32. */
export type Precision = "f32" | "f16";

export interface SessionOptions {
  readonly weightDecay: number;
  /** AdamW's decay rates of both moments. Default 0.9, 0.999. */
  readonly betas?: readonly [number, number];
  /** AdamW's addend of the denominator. Default 1e-8. */
  readonly epsilon?: number;
  /** Largest global norm of the gradient. */
  readonly gradientClip: number;
  /** Largest decay of the moving average; null trains without one. */
  readonly emaDecay: number | null;
  /** Default f32. */
  readonly precision?: Precision;
  /** How the loss is scaled in f16. */
  readonly lossScaling?: GradScalerOptions;
  readonly observer?: TrainingObserver;
}

/** The losses of a step: calls the session's `backward` and returns the scalars to report. A function of its arguments and of weights, nothing else. */
export type StepLosses<T extends Outputs, V extends Variant> = (inputs: T, variant: V) => Record<string, Tensor>;

/** A kind of step of a session. */
export interface TrainingStep<T extends Outputs, V extends Variant> {
  /**
   * Adds the gradients of a batch to those that the next {@link advance} updates by, whose metrics are then means over all batches. The losses are added up:
   * who wants their mean divides each.
   */
  accumulate(data: HostTensors<T>, variant: V): Promise<void>;
  /**
   * One step: clears gradients, computes the losses of `data`, updates weights and average, and reads everything back at once.
   * A gradient that is not finite leaves weights, moments and average alone. In f16 such a step counts, halves the loss's scale, and is told by the metric `skipped`.
   * @throws DivergedError naming the first weight that is not finite, else the first gradient; in f16 when the scale has nothing left to give
   */
  advance(lr: number, data: HostTensors<T>, variant: V): Promise<Record<string, number>>;
}

export interface PrepareOptions {
  /** Steps of the same variant and shapes that run op by op before they are captured; default 0, and with `Infinity` they always do. */
  readonly eagerCalls?: number;
}

/**
 * What is captured: a whole step, or one batch of several, whose gradients it adds to those there are. The update of several batches is a handful of kernels
 * and runs op by op: captured with the last batch it would double the plans, of which there is one for each graded step.
 */
type Part = "step" | "batch";

/** Scalars of the batches that wait for their step's update. */
interface Gathered {
  batches: number;
  readonly sums: Map<string, number>;
}

/** A scale of the loss at which gradients that are not finite are no matter of range. */
const LEAST_SCALE = 1;

/** The output that holds the optimiser's control words and all scalars, to be read at once. */
const REPORT = "report";

/** Number of the control words. */
const CONTROL = 4;

/** The next batch is a step's first. */
function clear(gathered: Gathered): void {
  gathered.batches = 0;
  gathered.sums.clear();
}

type Reported = Outputs & { readonly [REPORT]: Tensor };

/** Adds a batch's scalars, which stand in the order of their names. */
function gather(gathered: Gathered, names: readonly string[], values: ArrayLike<number>): void {
  gathered.batches++;
  for (const [i, name] of names.entries()) gathered.sums.set(name, (gathered.sums.get(name) ?? 0) + values[i]!);
}

/** Name of the file that holds a session's state inside a checkpoint. */
export const STATE_FILE = "training-state.safetensors";

/**
 * Weights in training. The state is the weights, AdamW's moments, the moving average, in f16 the loss's scale, and the counts of steps and updates, all f32;
 * random numbers and data need no state, since they are functions of the seed and the step.
 */
export class TrainingSession {
  readonly device: Device;
  readonly group: ParameterGroup;
  readonly optimizer: AdamW;
  readonly average: ExponentialMovingAverage | null;
  readonly #emaLimit: number;
  readonly #scaler: GradScaler | null;
  readonly #models: readonly Module[];
  readonly #functions: { dispose(): void }[] = [];
  /** Steps done. */
  step = 0;

  /**
   * Packs the trainable leaves of `parameters`; names are those of the state. `models` are all that take part, by name: in f16 their frozen weights are computed with
   * as f16 too, until `dispose`. Throws {@link DTypeError} for f16 on a device without it.
   */
  constructor(
    device: Device,
    parameters: Iterable<readonly [name: string, tensor: Tensor]>,
    options: SessionOptions,
    models: Readonly<Record<string, Module>> = {},
  ) {
    const half = options.precision === "f16";
    checkPrecision(device, options.precision);
    options.observer?.models(models);
    this.device = device;
    this.group = new ParameterGroup(parameters, { half });
    this.#models = Object.values(models);
    if (half) for (const model of this.#models) model.computeFrozen("f16");
    this.#scaler = half ? new GradScaler(device, options.lossScaling) : null;
    const { betas, epsilon } = options;
    this.optimizer = new AdamW(this.group, {
      ...(betas ? { betas } : {}),
      ...(epsilon === undefined ? {} : { eps: epsilon }),
      weightDecay: options.weightDecay,
      maxNorm: options.gradientClip,
      scaler: this.#scaler,
    });
    this.average = options.emaDecay === null ? null : new ExponentialMovingAverage(this.group);
    this.#emaLimit = options.emaDecay ?? 0;
  }

  /** The gradients of a loss, an f32 scalar, added to those of the step; in f16 by way of the scaled loss. */
  backward(loss: Tensor): void {
    if (this.#scaler) this.#scaler.backward(loss);
    else backward(loss);
  }

  /**
   * A kind of step, captured once for each variant and each set of shapes and replayed from then on: forward, backward, clipping, optimiser and average
   * together. What differs between steps of one variant must come through its data.
   */
  prepare<T extends Outputs, V extends Variant = null>(
    label: string,
    losses: StepLosses<T, V>,
    options: PrepareOptions = {},
  ): TrainingStep<T, V> {
    const compute = (inputs: T, [part, variant]: readonly [Part, V]): Reported => {
      if (part === "step") this.optimizer.zeroGrad();
      const scalars = losses(inputs, variant);
      const rows = Object.values(scalars).map((t) => t.detach().reshape(1));
      const control = part === "step" ? [this.#update().detach()] : [];
      return { ...scalars, [REPORT]: cat([...control, ...rows], 0) };
    };
    const step = new ReplayedFunction<T, readonly [Part, V], Reported>(this.device, compute, { label, ...options });
    this.#functions.push(step);
    const gathered: Gathered = { batches: 0, sums: new Map() };
    const add = async (data: HostTensors<T>, variant: V): Promise<void> => {
      const { [REPORT]: report, ...scalars } = step.call(data, ["batch", variant]);
      gather(gathered, Object.keys(scalars), await report.data());
    };
    return {
      accumulate: async (data, variant) => {
        if (!gathered.batches) this.optimizer.zeroGrad(false);
        await add(data, variant);
      },
      advance: (lr, data, variant) =>
        this.#advance(lr, gathered, async () => {
          if (gathered.batches) {
            await add(data, variant);
            return (await this.#update().data()) as Float32Array;
          }
          const { [REPORT]: report, ...scalars } = step.call(data, ["step", variant]);
          const values = (await report.data()) as Float32Array;
          gather(gathered, Object.keys(scalars), values.subarray(CONTROL));
          return values;
        }),
    };
  }

  /** Updates weights and average by the gradients there are, and gives the control words. */
  #update(): Tensor {
    const state = this.optimizer.apply();
    this.average?.apply(state);
    return state.control;
  }

  /** `compute` gives the control words once they are read back, and gathers the scalars. */
  async #advance(
    lr: number,
    gathered: Gathered,
    compute: () => Promise<Float32Array>,
  ): Promise<Record<string, number>> {
    this.optimizer.options.lr = lr;
    this.optimizer.prepare();
    let values: Float32Array;
    try {
      this.average?.prepare(emaDecay(this.step + 1, this.#emaLimit));
      values = await compute();
      if (values[1] !== 1 && !(values[3]! > LEAST_SCALE))
        throw new DivergedError(await this.#firstBadTensor(), this.step + 1);
    } catch (error) {
      this.optimizer.steps--;
      clear(gathered);
      throw error;
    }
    this.step++;
    const metrics: Record<string, number> = { lr };
    const tell = (name: string, value: number): void => {
      // A skipped step may have overflowed on its way forward already.
      if (Number.isFinite(value)) metrics[name] = value;
    };
    tell("gradNorm", values[2]!);
    if (this.#scaler) metrics["lossScale"] = values[3]!;
    if (values[1] !== 1) {
      this.optimizer.steps--;
      metrics["skipped"] = 1;
    }
    for (const [name, sum] of gathered.sums) tell(name, sum / gathered.batches);
    clear(gathered);
    return metrics;
  }

  async #firstBadTensor(): Promise<string> {
    const { entries, slabs } = this.group;
    const firstIn = async (part: "values" | "gradients"): Promise<string | undefined> => {
      // One by one, as all together may be more than the host's memory.
      for (const { name, parameter, slab, offset } of entries) {
        using view = this.group.view(slabs[slab]![part], parameter, offset);
        const [values] = await readTensors([view]);
        if (values!.some((x) => !Number.isFinite(x))) return name;
      }
      return undefined;
    };
    const weight = await firstIn("values");
    if (weight !== undefined) return `the weight ${weight}`;
    const gradient = await firstIn("gradients");
    // Every gradient finite but their squares' sum not: the norm itself overflowed.
    return gradient === undefined ? "the gradient's global norm" : `the gradient of ${gradient}`;
  }

  /** Runs `fn` with the moving average in the weights' place, as pictures and saved models are made. */
  async withAverage<T>(fn: () => Promise<T>): Promise<T> {
    if (!this.average) return fn();
    this.average.swapIn();
    try {
      return await fn();
    } finally {
      this.average.restore();
    }
  }

  /** Views of everything that the state holds, by name; `kept` is a snapshot that belongs to it. The caller disposes of them. */
  #tensors(kept: readonly Tensor[] | null): Map<string, Tensor> {
    const views = new Map<string, Tensor>();
    for (const { name, parameter, slab, offset } of this.group.entries) {
      views.set(`weight.${name}`, this.group.view(this.group.slabs[slab]!.values, parameter, offset));
      if (kept) views.set(`kept.${name}`, this.group.view(kept[slab]!, parameter, offset));
    }
    for (const [name, view] of this.optimizer.state()) views.set(name, view);
    for (const [name, view] of this.average?.state() ?? []) views.set(`average.${name}`, view);
    if (this.#scaler) views.set("loss_scale", this.#scaler.saved());
    return views;
  }

  /**
   * Writes the state into a checkpoint's folder, read from the device a few MiB at a time, with a snapshot that belongs to it if there is one; `notes` are kept in the
   * file's metadata.
   */
  async save(
    folder: WritableModelFolder,
    notes: Readonly<Record<string, string>> = {},
    kept: readonly Tensor[] | null = null,
  ): Promise<void> {
    const views = this.#tensors(kept);
    try {
      const entries = [...views].map(([name, view]) => ({ name, shape: view.shape, parts: [view] }));
      const counts = { step: String(this.step), updates: String(this.optimizer.steps) };
      const metadata = { ...notes, format: "refl training state", ...counts };
      await folder.write(STATE_FILE, streamTensors(entries, { metadata, file: `${folder.name}/${STATE_FILE}` }));
    } finally {
      for (const view of views.values()) view.dispose();
    }
  }

  /**
   * Puts the state that a checkpoint holds back, one tensor at a time, and its snapshot into `kept`. Nothing is changed when it does not fit. Returns the notes.
   * @throws CheckpointError when there is none, when it is another run's, or cannot be read
   */
  async load(folder: ModelFolder, kept: readonly Tensor[] | null = null): Promise<ReadonlyMap<string, string>> {
    const source = await folder.open(STATE_FILE);
    const views = this.#tensors(kept);
    try {
      const file = await openSafetensors(source);
      const { step, updates } = checkState(file, views);
      // In the file's order, and one buffer for all: fresh memory costs more than the reading.
      const buffer = new Uint8Array(Math.max(...[...file.tensors.values()].map(({ byteLength }) => byteLength)));
      for (const name of file.tensors.keys()) {
        views.get(name)!.write_(entryToFloat32(await file.read(name, buffer)));
        await this.device.settleWrites();
      }
      this.group.publish();
      this.step = step;
      this.optimizer.steps = updates;
      return file.metadata;
    } finally {
      for (const view of views.values()) view.dispose();
      await source.close();
    }
  }

  /** Copies the weights (not the average) to or from a spare set: the best ones so far, the start of another arm. */
  snapshot(): Tensor[] {
    return this.group.like("values", "snapshot");
  }
  /** A copy of the moving average, or of the weights where there is none. */
  averageSnapshot(): Tensor[] {
    const copies = this.snapshot();
    this.average?.averages.forEach((average, i) => void copies[i]!.copy_(average));
    return copies;
  }
  /** Leaves the moving average in the weights for good. */
  keepAverage(): void {
    if (this.average) this.restoreSnapshot(this.average.averages);
  }
  restoreSnapshot(snapshot: readonly Tensor[]): void {
    this.group.slabs.forEach(({ values }, i) => void values.copy_(snapshot[i]!));
    this.group.publish();
  }

  /** Gives all memory but the weights' back. Harmless when called twice. */
  dispose(): void {
    for (const step of this.#functions) step.dispose();
    this.optimizer.dispose();
    this.average?.dispose();
    this.#scaler?.dispose();
    this.group.dispose();
    for (const model of this.#models) model.computeFrozen("f32");
  }
}

/** The counts of a file that holds a value for each of `expected` and nothing else. @throws CheckpointError for any other */
function checkState(
  { name: file, tensors, metadata }: SafetensorsFile,
  expected: ReadonlyMap<string, Tensor>,
): { step: number; updates: number } {
  const missing = [...expected.keys()].filter((key) => !tensors.has(key));
  const unexpected = [...tensors.keys()].filter((key) => !expected.has(key));
  const misshapen = [...expected].flatMap(([key, view]) => {
    const found = tensors.get(key)?.shape;
    return found && found.join() !== view.shape.join() ? [{ key, expected: view.shape, found }] : [];
  });
  const narrow = [...tensors.values()].some(({ dtype }) => dtype !== "F32");
  const [step = "", updates = ""] = ["step", "updates"].map((key) => metadata.get(key));
  const counted = /^\d+$/.test(step) && /^\d+$/.test(updates);
  if (missing.length || unexpected.length || misshapen.length || narrow || !counted)
    throw new CheckpointError(file, "is not the state of this training run", { missing, unexpected, misshapen });
  return { step: Number(step), updates: Number(updates) };
}

/** Throws {@link DTypeError} where the adapter cannot compute in this precision. */
export function checkPrecision(device: Device, precision: Precision = "f32"): void {
  if (precision === "f16" && !device.capabilities.f16)
    throw new DTypeError("precision", ["f16"], "this adapter has no shader-f16; train with precision f32");
}
