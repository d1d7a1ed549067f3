/** Parameters: leaves that keep their gradient, and groups that pack many of them into few buffers. */
import { contiguousStrides, DTypeError, isFloat, keep, numel, Tensor } from "@refl/tensor";
import { Leaf } from "./tape.ts";

/** A tensor to be trained. It lives until `dispose()`, whatever scope it was made in. */
export class Parameter extends Tensor {
  /** @internal Where its gradients end; it stays the same while the parameter is frozen. */
  readonly leaf = new Leaf();
  #half: Tensor | null = null;

  /** Takes over the memory of `value` (f32 or f16; a copy where it is not contiguous), whose handle is disposed. Throws {@link DTypeError}. */
  constructor(value: Tensor, label = value.label) {
    if (!isFloat(value.dtype)) throw new DTypeError("Parameter", [value.dtype], "needs f32 or f16");
    const dense = value.isContiguous ? value : value.clone();
    super(value.device, dense.storage.retain(), dense.shape, dense.dtype, contiguousStrides(dense.shape), dense.offset);
    this.label = label;
    if (dense !== value) dense.dispose();
    value.dispose();
    keep(this);
    this.history = this.leaf;
  }

  /** The accumulated gradient, or null before the first backward. */
  get grad(): Tensor | null {
    return this.leaf.grad;
  }

  get requiresGrad(): boolean {
    return this.history !== null;
  }

  /**
   * Freezes or unfreezes the parameter: a frozen one is a constant to the tape and gets no gradient. Freeze before packing what an optimiser
   * shall leave alone: in a group, weight decay and momentum go on.
   */
  set requiresGrad(value: boolean) {
    if (value === this.requiresGrad) return;
    this.history = value ? this.leaf : null;
    if (this.#half) this.#half.history = this.history;
    if (!value) this.leaf.clear();
  }

  /** What is computed with: the f16 copy where there is one, whose gradients are this parameter's, else the parameter itself. */
  get working(): Tensor {
    return this.#half ?? this;
  }

  /**
   * Puts an f16 copy in the parameter's place wherever {@link working} is asked for, or with null takes it away. The parameter takes the handle over; who made the
   * copy keeps it equal to the parameter, whose own values stay what is trained, loaded and saved.
   */
  set half(copy: Tensor | null) {
    if (this.#half) {
      // The leaf is the parameter's: it must not end with the copy.
      this.#half.history = null;
      this.#half.dispose();
    }
    this.#half = copy;
    if (copy) copy.history = this.history;
  }

  override dispose(): void {
    this.half = null;
    super.dispose();
  }
}

/** Elements that every packed parameter starts at a multiple of: 256 bytes, the strictest alignment of a buffer binding. */
const ALIGNMENT = 64;

/** One buffer's worth of packed parameters: `values` and `gradients` are flat f32 tensors of `count` elements, `half` the values as f16 where these are computed with. */
export interface Slab {
  readonly values: Tensor;
  readonly gradients: Tensor;
  readonly half: Tensor | null;
  readonly count: number;
}

export interface ParameterGroupOptions {
  /** Bound of a slab in bytes; a larger parameter has one of its own. Default 64 MiB, or what the device binds where that is less. */
  readonly slabBytes?: number;
  /**
   * Mixed precision (Micikevicius et al. 2018, arXiv 1710.03740, §3.1): computations use f16 copies, while values and gradients stay f32. Default false.
   * Whoever changes values calls {@link ParameterGroup.publish}; optimisers and averages do.
   */
  readonly half?: boolean;
}

/** Where a named parameter lies. */
export interface PackedEntry {
  readonly name: string;
  readonly parameter: Tensor;
  readonly slab: number;
  readonly offset: number;
}

/** Default bound of a slab in bytes; under the 128 MiB that several adapters allow to one binding. */
const SLAB_BYTES = 1 << 26;

/**
 * Parameters gathered into few flat buffers, values and gradients alike, so that an optimiser step, a norm or a moving average is one
 * dispatch per slab however many parameters there are. The parameters keep working: they become views of the slabs, and backward adds
 * their gradients in place.
 */
export class ParameterGroup {
  readonly entries: readonly PackedEntry[];
  readonly slabs: readonly Slab[];

  readonly #leaves: readonly Leaf[];

  /**
   * `parameters` are distinct f32 leaves of one device under distinct names; those that ask for no gradient are left out. With `half` they are {@link Parameter}s.
   * Throws TypeError, and {@link DTypeError}, for `half` also where the device has no f16.
   */
  constructor(
    parameters: Iterable<readonly [name: string, parameter: Tensor]>,
    { slabBytes = SLAB_BYTES, half = false }: ParameterGroupOptions = {},
  ) {
    const entries: PackedEntry[] = [];
    const leaves: Leaf[] = [];
    const names = new Set<string>();
    const sizes: number[] = [];
    for (const [name, parameter] of parameters) {
      const leaf = parameter.history;
      if (!(leaf instanceof Leaf)) continue;
      if (parameter.dtype !== "f32")
        throw new DTypeError(`parameter ${name}`, [parameter.dtype], "an optimiser's master weights are f32");
      if (half && !(parameter instanceof Parameter))
        throw new TypeError(`parameter ${name} is a bare tensor: only a Parameter can have an f16 copy`);
      if (leaf.sink) throw new TypeError(`parameter ${name} is in another group: dispose of that first`);
      if (names.has(name) || leaves.includes(leaf)) throw new TypeError(`parameter ${name} is in the group twice`);
      names.add(name);
      leaves.push(leaf);
      const size = Math.ceil(numel(parameter.shape) / ALIGNMENT) * ALIGNMENT;
      const last = sizes.length - 1;
      const most = Math.min(slabBytes, parameter.device.largestBinding);
      if (last < 0 || (sizes[last]! + size) * 4 > most) sizes.push(0);
      const slab = sizes.length - 1;
      entries.push({ name, parameter, slab, offset: sizes[slab]! });
      sizes[slab]! += size;
    }
    if (!entries.length) throw new TypeError("a parameter group needs at least one parameter that requires a gradient");
    const { device } = entries[0]!.parameter;
    if (half && !device.capabilities.f16)
      throw new DTypeError("mixed precision", ["f16"], "this device has no shader-f16; train in f32");
    this.entries = entries;
    this.#leaves = leaves;
    this.slabs = sizes.map((count) => ({
      values: keep(Tensor.empty(device, [count], "f32", "parameters").fill_(0)),
      gradients: keep(Tensor.empty(device, [count], "f32", "gradients").fill_(0)),
      half: half ? keep(Tensor.empty(device, [count], "f16", "f16 parameters")) : null,
      count,
    }));
    entries.forEach(({ parameter, slab, offset }, i) => {
      const home = this.view(this.slabs[slab]!.values, parameter, offset);
      home.copy_(parameter);
      parameter.moveTo(home);
      home.dispose();
      leaves[i]!.clear();
      leaves[i]!.sink = this.view(this.slabs[slab]!.gradients, parameter, offset);
      const copies = this.slabs[slab]!.half;
      if (copies) (parameter as Parameter).half = this.view(copies, parameter, offset);
    });
    this.publish();
  }

  /** Rounds the values to the f16 copies that are computed with, if there are any: after every change of the values. */
  publish(): void {
    for (const { values, half } of this.slabs) half?.copy_(values);
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

  /**
   * Sets all gradients to zero. With `setToNone` (default, as PyTorch's) parameters then have none, and the next backward writes its own; without it backward adds
   * to the zeros, as a captured one that is replayed for several batches must.
   */
  zeroGrad(setToNone = true): void {
    for (const { gradients } of this.slabs) gradients.fill_(0);
    for (const leaf of this.#leaves) leaf.grad = setToNone ? null : leaf.sink;
  }

  /** Gives the gradients' memory and that of f16 copies back; the parameters stay where they are and can be packed again. */
  dispose(): void {
    for (const { parameter } of this.entries) if (parameter instanceof Parameter) parameter.half = null;
    for (const leaf of this.#leaves) {
      leaf.sink?.dispose();
      leaf.sink = null;
      leaf.grad = null;
    }
    for (const { gradients, values, half } of this.slabs) {
      gradients.dispose();
      values.dispose();
      half?.dispose();
    }
  }
}
