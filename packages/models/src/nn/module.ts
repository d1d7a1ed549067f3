/** The base of all layers and models: weights and children found in fields, PyTorch's state-dict names, scopes around each call. */
import type { Parameter } from "@refl/autograd";
import { CheckpointError, type Device, ReflError, type Shape, scope, Tensor } from "@refl/tensor";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { entryToFloat32, float32Entry } from "../formats/entries.ts";
import type { TensorEntry } from "../formats/safetensors.ts";
import { type MatchOptions, matchStateDict } from "../formats/state-dict.ts";
import { Constant } from "./constant.ts";
import { readTensors } from "./read.ts";
import { readAhead } from "./read-ahead.ts";
import { type Recomputable, recomputed } from "./recompute.ts";
import { ParameterSlot } from "./slot.ts";

/** A weight to load: an entry of a file (any float dtype, widened to f32) or a tensor of the same device. */
export type StateValue = Pick<TensorEntry, "dtype" | "shape" | "bytes"> | Tensor;

export interface LoadOptions extends MatchOptions {
  /** Where empty slots get their memory. Not needed when all weights have memory, or when a value is a tensor. */
  readonly device?: Device;
  /** What error messages call the source. Default `state dict`. */
  readonly file?: string;
  /** With `strict: false`, empty slots that the source lacks get the initial values of this seed. Default 0. */
  readonly seed?: number;
}

/** Keys that a load which is not strict left out: the module's that the source lacks, the source's that the module lacks. */
export interface LoadReport {
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
}

type AnyModule = Module<never[], unknown>;

const located = new WeakSet<Error>();

/**
 * A layer or model. Subclasses hold {@link ParameterSlot}s, modules and arrays of modules in public fields, whose names make the state-dict keys,
 * and say in `compute` what a call does. Callers use `forward`: it disposes the temporaries of `compute` (the tape keeps what it saved).
 */
export abstract class Module<Args extends unknown[] = never[], Result = unknown> {
  /** True in training: dropout and drop-path act. Set it with {@link train} and {@link eval}. */
  training = true;
  /** True where the way back computes parts again that would else be kept. Set it with {@link enableGradientCheckpointing}. */
  gradientCheckpointing = false;
  #path = "";

  protected abstract compute(...args: Args): Result;

  /** Calls the module. Errors of this project's classes name the module in which they arose. */
  forward(...args: Args): Result {
    return this.run(() => this.compute(...args));
  }

  /** For further public methods of a subclass: the same scope and error naming as `forward`. */
  protected run<T>(fn: () => T): T {
    try {
      return scope(fn);
    } catch (error) {
      if (error instanceof ReflError && !located.has(error)) {
        located.add(error);
        error.message += ` (in ${this.#path ? `${this.#path}, a ` : "a "}${this.constructor.name})`;
      }
      throw error;
    }
  }

  /** A child's `forward`; with {@link gradientCheckpointing} only its inputs are kept for the way back. */
  protected part<A extends unknown[], R extends Recomputable>(child: Module<A, R>, ...args: A): R {
    return this.gradientCheckpointing ? recomputed(child, ...args) : child.forward(...args);
  }

  /** Dotted name in the largest model whose weights or modules were listed (initialising and loading do); empty for its root. */
  get path(): string {
    return this.#path;
  }

  /** Modules and arrays of modules in fields, in order of definition; arrays give `field.index`. */
  *children(): Generator<[name: string, module: AnyModule]> {
    for (const [name, value] of Object.entries(this)) {
      if (value instanceof Module) yield [name, value];
      else if (Array.isArray(value)) {
        for (const [i, item] of value.entries()) if (item instanceof Module) yield [`${name}.${i}`, item];
      }
    }
  }

  /** This module and all below it, parents first. */
  *namedModules(path = ""): Generator<[path: string, module: AnyModule]> {
    if (path.length > this.#path.length) this.#path = path;
    yield [path, this];
    for (const [name, child] of this.children()) yield* child.namedModules(path ? `${path}.${name}` : name);
  }

  /** All weights by state-dict key in PyTorch's order: a module's own before its children's. */
  *namedSlots(): Generator<[key: string, slot: ParameterSlot]> {
    for (const [path, module] of this.namedModules()) {
      for (const [name, value] of Object.entries(module)) {
        if (value instanceof ParameterSlot) yield [path ? `${path}.${name}` : name, value];
      }
    }
  }

  /** Weights that have memory, by key; parts of a divided one by `key[first:last]`. */
  namedParameters(): Map<string, Parameter> {
    return new Map([...this.namedSlots()].flatMap(([key, slot]) => slot.named(key)));
  }

  /** All weights. Throws {@link ReflError} when one is empty. */
  parameters(): Parameter[] {
    return [...this.namedSlots()].flatMap(([, slot]) => slot.parts);
  }

  /** The weights that are not frozen. */
  trainableParameters(): Parameter[] {
    return [...this.namedSlots()].filter(([, slot]) => !slot.frozen).flatMap(([, slot]) => slot.parts);
  }

  /**
   * All weights by key: the module's own tensors, not copies; parts of a divided one by `key[first:last]` (`entries` gives it whole).
   * Throws {@link ReflError} when one is empty.
   */
  stateDict(): Map<string, Parameter> {
    this.parameters();
    return this.namedParameters();
  }

  /** Shapes by key, with or without memory. */
  shapes(): Map<string, Shape> {
    return new Map([...this.namedSlots()].map(([key, slot]) => [key, slot.shape]));
  }

  /** Number of weights' elements. */
  parameterCount(): number {
    let count = 0;
    for (const shape of this.shapes().values()) count += shape.reduce((product, size) => product * size, 1);
    return count;
  }

  /** Gives every weight its initial values. Each is a function of `seed` and its key alone. Returns this. */
  initialize(device: Device, seed: number): this {
    for (const [key, slot] of this.namedSlots()) slot.initialize(device, seed, key);
    return this;
  }

  /**
   * Sets the weights, in place where they have memory. Nothing is changed when the source does not fit.
   * @throws CheckpointError listing missing, unexpected and misshapen keys; DTypeError for a value that is no float.
   */
  loadStateDict(state: ReadonlyMap<string, StateValue>, options: LoadOptions = {}): LoadReport {
    const file = options.file ?? "state dict";
    const slots = new Map(this.namedSlots());
    const found = new Map([...state].map(([key, value]) => [key, value.shape]));
    const match = matchStateDict(file, this.shapes(), found, options);
    const values = new Map<string, Float32Array | Tensor>();
    for (const [key, source] of match.matched) values.set(key, hostOrDevice(source, state.get(source)!));
    const from = [...values.values()].find((value) => value instanceof Tensor);
    const device = options.device ?? from?.device;
    for (const [key, value] of values) setSlot(slots.get(key)!, key, value, device, file);
    this.#fillMissing(slots, match.missing, device, options);
    return { missing: match.missing, unexpected: match.unexpected };
  }

  /** As {@link loadStateDict} from an open checkpoint, two tensors in host memory at a time and what the device has yet to take of those before. */
  async load(source: Checkpoint, options: LoadOptions = {}): Promise<LoadReport> {
    const file = options.file ?? source.name;
    const slots = new Map(this.namedSlots());
    const match = matchStateDict(file, this.shapes(), source.shapes(), options);
    let widened: Float32Array = new Float32Array(0);
    for await (const [key, entry] of readAhead(source, match.matched)) {
      const slot = slots.get(key)!;
      const values = entryToFloat32(entry, widened);
      // What was widened into fresh memory lends it to those that follow.
      if (entry.dtype !== "F32" && values.length > widened.length) widened = values;
      setSlot(slot, key, values, options.device, file);
      await slot.parts[0]!.device.settleWrites();
    }
    this.#fillMissing(slots, match.missing, options.device, options);
    return { missing: match.missing, unexpected: match.unexpected };
  }

  /** Reads all weights back as file entries of the given dtype, in key order of the state dict. */
  async entries(dtype: "F32" | "F16" | "BF16" = "F32"): Promise<TensorEntry[]> {
    const slots = [...this.namedSlots()];
    const values = await readTensors(slots.flatMap(([, slot]) => slot.parts));
    let at = 0;
    return slots.map(([key, { shape, parts }]) => {
      const own = values.slice(at, (at += parts.length));
      return float32Entry(key, shape, own.length === 1 ? own[0]! : joined(own), dtype);
    });
  }

  /** Sets training mode for this module and all below. Returns this. */
  train(mode = true): this {
    for (const [, module] of this.namedModules()) module.training = mode;
    return this;
  }

  /** Ends training mode: dropout and drop-path do nothing. Returns this. */
  eval(): this {
    return this.train(false);
  }

  /**
   * Trades time for memory in training, here and in all modules below: of large parts (resnets and transformers of a UNet, resnets of an autoencoder, layers of
   * CLIP's and BLIP's towers) only the inputs are kept for the way back, and the rest is computed again. Results and gradients are the same bits, but for
   * `AutoencoderKL`'s decoding of several pictures, whose gradients are those of the pictures one by one. Returns this.
   */
  enableGradientCheckpointing(enabled = true): this {
    for (const [, module] of this.namedModules()) module.gradientCheckpointing = enabled;
    return this;
  }

  /** Freezes all weights (`false`) or lets them ask for gradients again. Returns this. */
  requiresGrad(wanted: boolean): this {
    for (const [, slot] of this.namedSlots()) slot.frozen = !wanted;
    return this;
  }

  /**
   * Lets layers compute with f16 copies of the frozen weights, or with `f32` takes the copies away; weights that train get theirs from their `ParameterGroup`.
   * All weights of a model must be computed with in one type. Throws {@link DTypeError} where the device has no f16.
   */
  computeFrozen(dtype: "f16" | "f32"): void {
    for (const [, slot] of this.namedSlots()) slot.computeFrozen(dtype);
  }

  /** Rounds all weights to f16 and lets the wider values go: half the memory, for models that are neither trained nor saved. Returns this. Throws {@link DTypeError} where the device has no f16. */
  narrow(): this {
    for (const [, slot] of this.namedSlots()) slot.narrow();
    return this;
  }

  /** Gives the memory of all weights and constants back. */
  dispose(): void {
    for (const value of Object.values(this)) {
      if (value instanceof ParameterSlot || value instanceof Constant) value.empty();
    }
    for (const [, child] of this.children()) child.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #fillMissing(
    slots: ReadonlyMap<string, ParameterSlot>,
    missing: readonly string[],
    device: Device | undefined,
    options: LoadOptions,
  ): void {
    for (const key of missing) {
      const slot = slots.get(key)!;
      if (!slot.filled && device) slot.initialize(device, options.seed ?? 0, key);
    }
  }
}

function hostOrDevice(key: string, value: StateValue): Float32Array | Tensor {
  return value instanceof Tensor ? value : entryToFloat32({ ...value, name: key });
}

function setSlot(
  slot: ParameterSlot,
  key: string,
  value: Float32Array | Tensor,
  device: Device | undefined,
  file: string,
): void {
  if (!slot.filled) {
    if (!device) throw new CheckpointError(file, `${key} has no memory yet: pass the device to load to`);
    slot.allocate(device, key);
  }
  if (value instanceof Tensor) slot.copy(value);
  else slot.write(value);
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
