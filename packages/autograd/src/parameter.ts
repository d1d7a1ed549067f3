/** Parameters: leaves that keep their gradient, and groups that pack many of them into few buffers. */
import { contiguousStrides, keep, numel, Tensor } from "@refl/tensor";
import { Leaf, requireGrad } from "./tape.ts";

/** A tensor to be trained. It lives until `dispose()`, whatever scope it was made in. */
export class Parameter extends Tensor {
  /** Takes over the memory of `value` (contiguous, f32 or f16), whose handle is disposed. */
  constructor(value: Tensor, label = value.label) {
    const dense = value.isContiguous ? value : value.clone();
    super(value.device, dense.storage.retain(), dense.shape, dense.dtype, contiguousStrides(dense.shape), dense.offset);
    this.label = label;
    if (dense !== value) dense.dispose();
    value.dispose();
    keep(this);
    requireGrad(this);
  }

  /** The accumulated gradient, or null before the first backward. */
  get grad(): Tensor | null {
    return this.history instanceof Leaf ? this.history.grad : null;
  }

  get requiresGrad(): boolean {
    return this.history !== null;
  }

  /** Freezes or unfreezes the parameter: a frozen one is a constant to the tape and gets no gradient. */
  set requiresGrad(value: boolean) {
    if (value === this.requiresGrad) return;
    if (value) requireGrad(this);
    else {
      const leaf = this.history as Leaf;
      if (!leaf.sink) leaf.grad?.dispose();
      this.history = null;
    }
  }
}

/** Elements that every packed parameter starts at a multiple of: 256 bytes, the strictest alignment of a buffer binding. */
const ALIGNMENT = 64;

/** One buffer's worth of packed parameters: `values` and `gradients` are flat f32 tensors of `count` elements. */
export interface Slab {
  readonly values: Tensor;
  readonly gradients: Tensor;
  readonly count: number;
}

/** Where a named parameter lies. */
export interface PackedEntry {
  readonly name: string;
  readonly parameter: Tensor;
  readonly slab: number;
  readonly offset: number;
}

/** Largest slab in bytes; under the 128 MiB that several adapters allow to one binding. */
const SLAB_BYTES = 1 << 26;

/**
 * Parameters gathered into few flat buffers, values and gradients alike, so that an optimiser step, a norm or a moving average is one
 * dispatch per slab however many parameters there are. The parameters keep working: they become views of the slabs, and backward adds
 * their gradients in place.
 */
export class ParameterGroup {
  readonly entries: readonly PackedEntry[];
  readonly slabs: readonly Slab[];

  /** `parameters` are distinct f32 leaves of one device; those that ask for no gradient are left out. */
  constructor(parameters: Iterable<readonly [name: string, parameter: Tensor]>) {
    const entries: PackedEntry[] = [];
    const sizes: number[] = [];
    for (const [name, parameter] of parameters) {
      if (!(parameter.history instanceof Leaf)) continue;
      if (parameter.dtype !== "f32") throw new TypeError(`parameter ${name} is ${parameter.dtype}; an optimiser's master weights are f32`);
      if (entries.some((e) => e.parameter === parameter)) throw new TypeError(`parameter ${name} is in the group twice`);
      const size = Math.ceil(numel(parameter.shape) / ALIGNMENT) * ALIGNMENT;
      const last = sizes.length - 1;
      if (last < 0 || (sizes[last]! + size) * 4 > SLAB_BYTES) sizes.push(0);
      const slab = sizes.length - 1;
      entries.push({ name, parameter, slab, offset: sizes[slab]! });
      sizes[slab]! += size;
    }
    if (!entries.length) throw new TypeError("a parameter group needs at least one parameter that requires a gradient");
    const { device } = entries[0]!.parameter;
    this.entries = entries;
    this.slabs = sizes.map((count) => ({
      values: keep(Tensor.empty(device, [count], "f32", "parameters").fill_(0)),
      gradients: keep(Tensor.empty(device, [count], "f32", "gradients").fill_(0)),
      count,
    }));
    for (const { parameter, slab, offset } of entries) {
      const home = this.view(this.slabs[slab]!.values, parameter, offset);
      home.copy_(parameter);
      parameter.moveTo(home);
      home.dispose();
      const leaf = parameter.history as Leaf;
      leaf.grad?.dispose();
      leaf.grad = null;
      leaf.sink = this.view(this.slabs[slab]!.gradients, parameter, offset);
    }
  }

  /** A view with the parameter's shape of a flat tensor laid out as the slabs; no scope owns it. */
  view(flat: Tensor, parameter: Tensor, offset: number): Tensor {
    return keep(flat.view(parameter.shape, contiguousStrides(parameter.shape), offset));
  }

  /** Flat tensors laid out as the slabs, filled with `value` or copied from the values. */
  like(fill: number | "values", label: string): Tensor[] {
    return this.slabs.map(({ values, count }) => {
      const flat = keep(Tensor.empty(values.device, [count], "f32", label));
      return fill === "values" ? flat.copy_(values) : flat.fill_(fill);
    });
  }

  zeroGrad(): void {
    for (const { gradients } of this.slabs) gradients.fill_(0);
    for (const { parameter } of this.entries) if (parameter.history instanceof Leaf) parameter.history.grad = null;
  }

  /** Gives the gradients' memory back; the parameters stay where they are and can be packed again. */
  dispose(): void {
    for (const { parameter } of this.entries) {
      if (!(parameter.history instanceof Leaf)) continue;
      parameter.history.sink?.dispose();
      parameter.history.sink = null;
      parameter.history.grad = null;
    }
    for (const { gradients, values } of this.slabs) {
      gradients.dispose();
      values.dispose();
    }
  }
}
