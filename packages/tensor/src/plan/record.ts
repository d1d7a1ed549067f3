/** Recording: what a captured function would run, written down as steps over values without running any of it. */
import { type Defines, type Kernel, type ParamValues, packParams } from "@refl/kernels-wgsl";
import { CaptureError } from "../errors.ts";
import type { Program } from "../pipeline.ts";
import { type PooledBuffer, Storage, type StorageOwner } from "../pool.ts";

/** Memory that steps read and write. */
export interface Value {
  /** Number in order of appearance. */
  readonly index: number;
  /** Bytes asked for; of memory from outside, bytes of its buffer. */
  readonly bytes: number;
  readonly label: string;
  /** True for memory that was there before. */
  readonly outside: boolean;
  /** The content of a constant. */
  readonly constant?: ArrayBuffer;
  /** Memory that outlives the function: made before it, or held when it returned. Null for what lives only between steps. */
  storage: Storage | null;
}

/** A range of a value as one kernel binds it. */
export interface Binding {
  readonly value: Value;
  /** A multiple of 256. */
  readonly offset: number;
  /** Bytes bound; 0 binds all from the offset on. */
  readonly bytes: number;
}

/** One dispatch: everything that it needs but the memory behind its values. */
export interface DispatchStep {
  readonly kind: "dispatch";
  readonly program: Program;
  readonly kernel: Kernel;
  readonly defines: Defines;
  readonly params: ParamValues;
  readonly bindings: readonly Binding[];
  readonly grid: readonly [number, number, number];
}

/** A copy of bytes between two values. */
export interface CopyStep {
  readonly kind: "copy";
  readonly from: Value;
  readonly fromOffset: number;
  readonly to: Value;
  readonly toOffset: number;
  readonly bytes: number;
}

export type Step = DispatchStep | CopyStep;

/** The values of a step, each with whether it is written. */
export function usesOf(step: Step): readonly { readonly value: Value; readonly written: boolean }[] {
  if (step.kind === "copy") {
    return [
      { value: step.from, written: false },
      { value: step.to, written: true },
    ];
  }
  return step.bindings.map(({ value }, i) => ({ value, written: step.program.access[i] === "read_write" }));
}

/** Parameters of a dispatch as the kernel reads them. */
export function packedParams({ kernel, program, params }: DispatchStep): Uint8Array {
  const bytes = new Uint8Array(program.params.size);
  packParams(kernel, program.params, params, new DataView(bytes.buffer), 0);
  return bytes;
}

/** Stands for memory that there is none of yet. */
class Placeholder implements PooledBuffer {
  readonly id = 0;
  readonly bytes: number;
  readonly #plan: string;

  constructor(plan: string, bytes: number) {
    this.#plan = plan;
    this.bytes = bytes;
  }

  get gpu(): never {
    throw new CaptureError(this.#plan, "a tensor made inside has no memory: the function did not return");
  }
}

/** Whether a buffer stands for memory that there is none of yet. */
export const isPlaceholder = (buffer: PooledBuffer): boolean => buffer instanceof Placeholder;

/** Collects the steps of a function while it runs. Tensors that it makes are placeholders; nothing reaches the device. */
export class Recording implements StorageOwner {
  readonly plan: string;
  readonly steps: Step[] = [];
  readonly #values: Value[] = [];
  readonly #byBuffer = new Map<PooledBuffer, Value>();
  readonly #made = new Map<Storage, Value>();
  #error: CaptureError | null = null;

  constructor(plan: string) {
    this.plan = plan;
  }

  /** A storage without memory, of which the function may hold any number at no cost. */
  allocate(bytes: number, label: string): Storage {
    const placeholder = new Placeholder(this.plan, bytes);
    const storage = new Storage(this, placeholder, label);
    const value: Value = { index: this.#values.length, bytes, label, outside: false, storage: null };
    this.#values.push(value);
    this.#byBuffer.set(placeholder, value);
    this.#made.set(storage, value);
    return storage;
  }

  giveBack(storage: Storage): void {
    this.#made.delete(storage);
  }

  /** Counts memory from outside among the plan's values and holds it. */
  #valueOf(storage: Storage, constant?: ArrayBuffer): Value {
    const { buffer } = storage;
    let value = this.#byBuffer.get(buffer);
    if (!value) {
      const { label } = storage;
      const bytes = buffer.bytes;
      value = { index: this.#values.length, bytes, label, outside: true, storage: storage.retain() };
      if (constant) value = { ...value, constant };
      this.#values.push(value);
      this.#byBuffer.set(buffer, value);
    }
    return value;
  }

  dispatch(
    program: Program,
    kernel: Kernel,
    defines: Defines,
    storages: readonly Storage[],
    params: ParamValues,
    grid: readonly [number, number, number],
  ): void {
    const bindings = storages.map((storage) => ({ value: this.#valueOf(storage), offset: 0, bytes: 0 }));
    this.steps.push({ kind: "dispatch", program, kernel, defines, params, bindings, grid });
  }

  copy(from: Storage, fromOffset: number, to: Storage, toOffset: number, bytes: number): void {
    this.steps.push({
      kind: "copy",
      from: this.#valueOf(from),
      fromOffset,
      to: this.#valueOf(to),
      toOffset,
      bytes,
    });
  }

  /** Holds a constant's storage, which no step writes, for as long as the plan lives. */
  hold(storage: Storage, content: ArrayBuffer): void {
    this.#valueOf(storage, content);
  }

  /** Refuses what a captured function may not do; the capture fails even where the function goes on. */
  refuse(message: string): never {
    this.#error ??= new CaptureError(this.plan, message);
    throw this.#error;
  }

  /** Ends the recording. Throws what was refused on the way. */
  finish(): void {
    if (this.#error) throw this.#error;
  }

  /** Gives memory to what was made inside and is still held, by `adopt`, and holds it for the plan. */
  settle(adopt: (storage: Storage, bytes: number) => void): void {
    for (const [storage, value] of this.#made) {
      adopt(storage, value.bytes);
      value.storage = storage.retain();
    }
    this.#made.clear();
  }

  /** Lets go of all memory that outlives the function. */
  release(): void {
    for (const value of this.#values) value.storage?.release();
  }
}
