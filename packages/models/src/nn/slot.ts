/** The place of one weight in a module: its shape and how it begins, whether or not there is memory for it yet. */
import { Parameter } from "@refl/autograd";
import { type Device, keep, numel, ReflError, type Shape, ShapeError, Tensor } from "@refl/tensor";
import { drawInitial, type Initializer, weightStream } from "./init.ts";

export interface SlotOptions {
  /** A weight that exceeds the device's largest binding is kept as several, of even numbers of rows; layers then take `parts`. Default false. */
  readonly divisible?: boolean;
}

/**
 * A module is built of slots without memory, so that a model of any size can be made, counted and compared with a checkpoint; `initialize` or a
 * checkpoint fills them.
 */
export class ParameterSlot {
  readonly shape: Shape;
  readonly initializer: Initializer;
  readonly divisible: boolean;
  #parts: readonly Parameter[] = [];
  #frozen = false;

  constructor(shape: Shape, initializer: Initializer, { divisible = false }: SlotOptions = {}) {
    this.shape = shape;
    this.initializer = initializer;
    this.divisible = divisible;
  }

  /** The weight as layers compute with it: an f16 copy where there is one. Throws {@link ReflError}: `no-weights` while the slot is empty, `divided-weight` where it is kept as several. */
  get value(): Tensor {
    return this.master.working;
  }

  /** The weight as it is trained, loaded and saved. Throws as {@link value}. */
  get master(): Parameter {
    const { parts } = this;
    if (parts.length > 1) {
      const text = `a weight [${this.shape.join(", ")}] exceeds the device's largest binding and is kept in ${parts.length} parts`;
      throw new ReflError("divided-weight", text);
    }
    return parts[0]!;
  }

  /** The weight in its parts along the first axis: one, unless it is divided. Throws {@link ReflError} (code `no-weights`) while the slot is empty. */
  get parts(): readonly Parameter[] {
    if (!this.#parts.length) {
      throw new ReflError(
        "no-weights",
        `a weight [${this.shape.join(", ")}] has no values yet: call initialize or loadStateDict first`,
      );
    }
    return this.#parts;
  }

  /** Whether there is memory. */
  get filled(): boolean {
    return this.#parts.length > 0;
  }

  /** Parts by name: `key` itself, or `key[first:last]` with the rows of each where the weight is divided. Nothing while the slot is empty. */
  named(key: string): [name: string, part: Parameter][] {
    if (this.#parts.length < 2) return this.#parts.map((part) => [key, part]);
    let first = 0;
    return this.#parts.map((part) => {
      const last = first + part.shape[0]!;
      const name = `${key}[${first}:${last}]`;
      first = last;
      return [name, part];
    });
  }

  get frozen(): boolean {
    return this.#frozen;
  }

  /** A frozen weight is a constant to the tape: nothing is recorded or computed for its gradient. */
  set frozen(frozen: boolean) {
    this.#frozen = frozen;
    for (const part of this.#parts) part.requiresGrad = !frozen;
  }

  /** Puts the memory of a tensor of the slot's shape here, in place of what was here before. The tensor's own handle is disposed. */
  fill(tensor: Tensor, label: string): Parameter {
    if (tensor.shape.join() !== this.shape.join()) {
      throw new ShapeError(label, [this.shape, tensor.shape], "a weight must have its slot's shape");
    }
    return this.#take([tensor], label)[0]!;
  }

  /** Memory on the device in place of what was here, its content undefined; several parts where the slot is divisible and has to be divided. */
  allocate(device: Device, label: string): readonly Parameter[] {
    const rows = this.shape[0] ?? 1;
    const rowBytes = (4 * numel(this.shape)) / Math.max(1, rows);
    // A part begins at a whole vec4 of the table, so that counters of random blocks and copies stay aligned.
    const most = Math.max(4, Math.floor(device.largestBinding / rowBytes / 4) * 4);
    const count = this.divisible && rows > most ? Math.ceil(rows / most) : 1;
    const each = count > 1 ? Math.ceil(rows / count / 4) * 4 : rows;
    const shapes = count > 1 ? Array.from({ length: count }, (_, i) => Math.min(each, rows - i * each)) : null;
    const empty = (shape: Shape): Tensor => Tensor.empty(device, shape, "f32", label);
    const made = shapes ? shapes.map((height) => empty([height, ...this.shape.slice(1)])) : [empty(this.shape)];
    return this.#take(made, label);
  }

  /** Sets the weight's values in row-major order. */
  write(values: Float32Array): void {
    let at = 0;
    for (const part of this.parts) {
      part.write_(values.subarray(at, at + part.numel));
      at += part.numel;
    }
  }

  /** Sets the weight to a tensor of its shape. */
  copy(value: Tensor): void {
    if (this.parts.length === 1) {
      this.parts[0]!.copy_(value);
      return;
    }
    let first = 0;
    for (const part of this.parts) {
      const last = first + part.shape[0]!;
      using rows = value.slice(0, first, last);
      part.copy_(rows);
      first = last;
    }
  }

  /** Fills the slot with its initial values, a function of the seed and the name alone. */
  initialize(device: Device, seed: number, name: string): void {
    this.allocate(device, name);
    this.write(drawInitial(this.initializer, this.shape, weightStream(seed, name)));
  }

  /** Gives the memory back; the slot is empty again. */
  empty(): void {
    for (const part of this.#parts) part.dispose();
    this.#parts = [];
  }

  /** Gives frozen weights an f16 copy to compute with, or takes it away; weights that train get theirs where they are packed. Nothing happens to weights that are f16 or have a copy. */
  computeFrozen(dtype: "f16" | "f32"): void {
    if (!this.#frozen) return;
    for (const part of this.#parts) {
      if (dtype === "f32") part.half = null;
      else if (part.dtype === "f32" && part.working === part) {
        part.half = keep(Tensor.empty(part.device, part.shape, "f16", part.label).copy_(part));
      }
    }
  }

  /** Rounds the weight to f16 and lets the wider values go: for models that are neither trained nor saved. */
  narrow(): void {
    const { parts } = this;
    if (parts[0]!.dtype === "f16") return;
    const rounded = parts.map((part) => Tensor.empty(part.device, part.shape, "f16", part.label).copy_(part));
    this.#take(rounded, parts[0]!.label);
  }

  #take(tensors: readonly Tensor[], label: string): readonly Parameter[] {
    const parts = tensors.map((tensor) => new Parameter(tensor, label));
    for (const part of parts) part.requiresGrad = !this.#frozen;
    this.empty();
    this.#parts = parts;
    return parts;
  }
}
