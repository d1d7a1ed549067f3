/** Parameters: leaves that keep their gradient, and groups that pack many of them into few buffers. */
import { contiguousStrides, DTypeError, isFloat, keep, numel, Tensor } from "@refl/tensor";
import { Leaf } from "./tape.ts";

/** A tensor to be trained. It lives until `dispose()`, whatever scope it was made in. */
export class Parameter extends Tensor {
  /** @internal Where its gradients end; it stays the same while the parameter is frozen. */
  readonly leaf = new Leaf();

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
    if (!value) this.leaf.clear();
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
   * `parameters` are distinct f32 leaves of one device under distinct names; those that ask for no gradient are left out.
   * `slabBytes` bounds a slab; a larger parameter has one of its own. Throws TypeError and {@link DTypeError}.
   */
  constructor(parameters: Iterable<readonly [name: string, parameter: Tensor]>, { slabBytes = SLAB_BYTES } = {}) {
    const entries: PackedEntry[] = [];
    const leaves: Leaf[] = [];
    const names = new Set<string>();
    const sizes: number[] = [];
    for (const [name, parameter] of parameters) {
      const leaf = parameter.history;
      if (!(leaf instanceof Leaf)) continue;
      if (parameter.dtype !== "f32")
        throw new DTypeError(`parameter ${name}`, [parameter.dtype], "an optimiser's master weights are f32");
      if (leaf.sink) throw new TypeError(`parameter ${name} is in another group: dispose of that first`);
      if (names.has(name) || leaves.includes(leaf)) throw new TypeError(`parameter ${name} is in the group twice`);
      names.add(name);
      leaves.push(leaf);
      const size = Math.ceil(numel(parameter.shape) / ALIGNMENT) * ALIGNMENT;
      const last = sizes.length - 1;
      if (last < 0 || (sizes[last]! + size) * 4 > slabBytes) sizes.push(0);
      const slab = sizes.length - 1;
      entries.push({ name, parameter, slab, offset: sizes[slab]! });
      sizes[slab]! += size;
    }
    if (!entries.length) throw new TypeError("a parameter group needs at least one parameter that requires a gradient");
    const { device } = entries[0]!.parameter;
    this.entries = entries;
    this.#leaves = leaves;
    this.slabs = sizes.map((count) => ({
      values: keep(Tensor.empty(device, [count], "f32", "parameters").fill_(0)),
      gradients: keep(Tensor.empty(device, [count], "f32", "gradients").fill_(0)),
      count,
    }));
    entries.forEach(({ parameter, slab, offset }, i) => {
      const home = this.view(this.slabs[slab]!.values, parameter, offset);
      home.copy_(parameter);
      parameter.moveTo(home);
      home.dispose();
      leaves[i]!.clear();
      leaves[i]!.sink = this.view(this.slabs[slab]!.gradients, parameter, offset);
    });
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
    for (const leaf of this.#leaves) leaf.grad = null;
  }

  /** Gives the gradients' memory back; the parameters stay where they are and can be packed again. */
  dispose(): void {
    for (const leaf of this.#leaves) {
      leaf.sink?.dispose();
      leaf.sink = null;
      leaf.grad = null;
    }
    for (const { gradients, values } of this.slabs) {
      gradients.dispose();
      values.dispose();
    }
  }
}
