/** Capture and replay: a function of tensors becomes a plan, which runs again and again without running any of the function's code. */
import type { Device } from "../device.ts";
import { type DType, encode } from "../dtype.ts";
import { CaptureError, DisposedError, ShapeError } from "../errors.ts";
import type { KernelEvent } from "../profile.ts";
import { scope } from "../scope.ts";
import type { Shape } from "../shape.ts";
import type { PreparedStep } from "../stream.ts";
import { Tensor } from "../tensor.ts";
import type { Arena } from "./arena.ts";
import { firstChange } from "./compare.ts";
import { explainPlan, formatExplanation, type PlanExplanation, type PlanMemory, summary } from "./explain.ts";
import { optimizeSteps } from "./optimize.ts";
import { type ParameterTable, type Placement, placeValues, prepareSteps, uploadParameters } from "./prepare.ts";
import type { Recording, Step } from "./record.ts";

/** What an input of a plan is: all of it is fixed but the values. dtype: f32. */
export interface InputSpec {
  readonly shape: Shape;
  readonly dtype?: DType;
}

export type InputSpecs = Readonly<Record<string, InputSpec>>;

/** What the captured function gets: a tensor for each input. */
export type InputTensors<I extends InputSpecs> = { readonly [K in keyof I]: Tensor };

/** What a replay takes: host values, or a tensor of the input's shape, for each input. */
export type InputValues<I extends InputSpecs> = { readonly [K in keyof I]: ArrayLike<number> | Tensor };

/** What a captured function returns. */
export type Outputs = Readonly<Record<string, Tensor>>;

export type CapturedFunction<I extends InputSpecs, O extends Outputs> = (inputs: InputTensors<I>) => O;

export interface CaptureOptions {
  /** Names the plan in errors, memory reports and explanations. Default "plan". */
  readonly label?: string;
  /** Memory shared with plans that run in turn with this one; default one of its own. */
  readonly arena?: Arena;
}

/**
 * Writes down what `fn` would run, plans its memory and returns the plan; nothing runs before the first `replay`. What changes from replay to replay
 * (data, times, rates, seeds) must come through `inputs`: host values written inside `fn` are refused, and numbers that `fn` computes with are part of the plan.
 * Tensors of outside are used where they are: weights, moments and averages change with every replay. Tensors that `fn` leaves outside (with `keep`,
 * or a leaf's `grad`) live on and are written by every replay.
 *
 * A replay gives the same bits as running `fn`. Throws {@link CaptureError} when `fn` reads back, writes host values or captures itself, and {@link OutOfMemoryError} where
 * its memory does not fit the budget; then nothing has run and nothing is held.
 */
export function capture<const I extends InputSpecs, O extends Outputs>(
  device: Device,
  inputs: I,
  fn: CapturedFunction<I, O>,
  options: CaptureOptions = {},
): Plan<I, O> {
  const label = options.label ?? "plan";
  const tensors = makeInputs(device, inputs);
  const undo: (() => void)[] = [() => disposeAll(tensors)];
  try {
    const { recording, result } = record(device, label, tensors, fn);
    undo.push(() => {
      recording.release();
      disposeAll(result);
    });
    const arena = options.arena ?? device.createArena();
    if (!options.arena) undo.push(() => arena.dispose());
    return new Plan(device, label, inputs, tensors, recording, result, fn, arena, !options.arena);
  } catch (error) {
    for (const step of undo) step();
    throw error;
  }
}

function disposeAll(tensors: Readonly<Record<string, Tensor>>): void {
  for (const tensor of Object.values(tensors)) tensor.dispose();
}

/** A tensor for each input, which no scope owns. */
function makeInputs<I extends InputSpecs>(device: Device, inputs: I): InputTensors<I> {
  const made = Object.entries(inputs).map(([name, { shape, dtype }]) => {
    const tensor = Tensor.empty(device, shape, dtype ?? "f32", `input ${name}`);
    const kept = tensor.alias();
    tensor.dispose();
    return [name, kept] as const;
  });
  return Object.fromEntries(made) as unknown as InputTensors<I>;
}

/** Writes the values of all inputs. Throws {@link ShapeError} for one of another size, `TypeError` for a missing or unknown one. */
function writeInputs<I extends InputSpecs>(tensors: InputTensors<I>, values: InputValues<I>): void {
  for (const name in values) if (!(name in tensors)) throw new TypeError(`replay: there is no input ${name}`);
  for (const name in tensors) {
    const tensor: Tensor = tensors[name];
    const value: ArrayLike<number> | Tensor | undefined = values[name];
    if (value === undefined) throw new TypeError(`replay: input ${name} is missing`);
    if (value instanceof Tensor) {
      if (value.shape.join() !== tensor.shape.join())
        throw new ShapeError(`replay: input ${name}`, [tensor.shape, value.shape], "another shape needs another plan");
      tensor.copy_(value);
    } else {
      if (value.length !== tensor.numel)
        throw new ShapeError(`replay: input ${name}`, [tensor.shape], `${value.length} values do not fill it`);
      if (value.length) tensor.device.write(tensor.storage, 0, encode(value, tensor.dtype));
    }
  }
}

function record<I extends InputSpecs, O extends Outputs>(
  device: Device,
  label: string,
  inputs: InputTensors<I>,
  fn: CapturedFunction<I, O>,
): { recording: Recording; result: O } {
  const kept: Record<string, Tensor> = {};
  try {
    const recording = device.record(label, () =>
      scope(() => {
        const outputs: Outputs = fn(inputs);
        for (const [name, tensor] of Object.entries(outputs)) kept[name] = tensor.alias();
      }),
    );
    return { recording, result: Object.freeze(kept) as O };
  } catch (error) {
    disposeAll(kept);
    throw error;
  }
}

/** A captured function. Its memory is its own: other work may use the device between replays. */
export class Plan<I extends InputSpecs, O extends Outputs> {
  readonly device: Device;
  readonly label: string;
  readonly inputs: I;
  /** What the function returned, written anew by every replay. The plan owns them. */
  readonly outputs: O;
  /** The dispatches and copies of a replay, in order. */
  readonly steps: readonly Step[];
  readonly #tensors: InputTensors<I>;
  readonly #recording: Recording;
  readonly #fn: CapturedFunction<I, O>;
  readonly #placement: Placement;
  readonly #parameters: ParameterTable;
  readonly #arena: Arena;
  readonly #ownsArena: boolean;
  #prepared: readonly PreparedStep[] = [];
  #generation = -1;
  #disposed = false;

  /** @internal Use {@link capture}. */
  constructor(
    device: Device,
    label: string,
    inputs: I,
    tensors: InputTensors<I>,
    recording: Recording,
    outputs: O,
    fn: CapturedFunction<I, O>,
    arena: Arena,
    ownsArena: boolean,
  ) {
    this.device = device;
    this.label = label;
    this.inputs = inputs;
    this.outputs = outputs;
    this.#tensors = tensors;
    this.#recording = recording;
    this.#fn = fn;
    this.steps = optimizeSteps(recording.steps);
    this.#placement = placeValues(this.steps);
    this.#arena = arena;
    this.#ownsArena = ownsArena;
    this.#arena.reserve(this.#placement.layout.sizes);
    this.#parameters = uploadParameters(device, this.steps);
    if (device.debug === 1) device.log(summary(this.explain()));
    else if (device.debug >= 2) device.log(formatExplanation(this.explain()));
  }

  get memory(): PlanMemory {
    const { sizes, lowerBound } = this.#placement.layout;
    return {
      arena: this.#arena.bytes,
      planned: sizes.reduce((sum, size) => sum + size, 0),
      lowerBound,
      parameters: this.#parameters.storage.bytes,
    };
  }

  /**
   * Runs the plan on `values`, which it writes into its inputs, and returns its outputs; their content lasts until the next replay.
   * Throws {@link ShapeError} for values of another size and {@link DisposedError} after dispose.
   */
  replay(values: InputValues<I>): O {
    if (this.#disposed) throw new DisposedError(`plan ${this.label}`);
    if (this.device.debug >= 4) this.verify();
    writeInputs(this.#tensors, values);
    if (this.#generation !== this.#arena.generation) {
      this.#prepared = prepareSteps(this.device.gpu, this.steps, this.#placement, this.#arena, this.#parameters);
      this.#generation = this.#arena.generation;
    }
    this.device.replay(this.#prepared, this.steps);
    return this.outputs;
  }

  /**
   * Runs the function's code once more without running its kernels, and compares: throws {@link CaptureError} naming the first difference when it would
   * now do something else than the plan does, for instance because a number that it computes with has changed.
   */
  verify(): void {
    if (this.#disposed) throw new DisposedError(`plan ${this.label}`);
    const { recording, result } = record(this.device, this.label, this.#tensors, this.#fn);
    disposeAll(result);
    const change = firstChange(this.#recording.steps, recording.steps);
    recording.release();
    if (change) throw new CaptureError(this.label, `the function no longer does what was captured: ${change}`);
  }

  /** What a replay consists of, without running it. */
  explain(): PlanExplanation {
    return explainPlan(this, null);
  }

  /** Replays the plan with timestamps around every dispatch. Throws as {@link replay}, and `RangeError` where the device has no timestamps. */
  async profile(values: InputValues<I>): Promise<{ explanation: PlanExplanation; events: KernelEvent[] }> {
    const all = await this.device.trace(() => this.replay(values));
    // Inputs that are tensors are copied first, by dispatches that are not of the plan.
    const events = all.slice(all.length - this.steps.filter(({ kind }) => kind === "dispatch").length);
    return { explanation: explainPlan(this, events), events };
  }

  /** Gives all memory back. Harmless when called twice. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#prepared = [];
    disposeAll(this.#tensors);
    disposeAll(this.outputs);
    this.#recording.release();
    this.#parameters.storage.release();
    if (this.#ownsArena) this.#arena.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
