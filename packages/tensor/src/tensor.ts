/** The tensor: a shape over counted device memory, with PyTorch's names for what can be done with it. */
import { type Activation, FILL_WIDE_GROUP, fill as fillKernel, fillWide, linearGrid } from "@refl/kernels-wgsl";
import type { Device } from "./device.ts";
import { BYTES, type DType, decode, encode, type HostArrays, isFloat, STORAGE } from "./dtype.ts";
import { DisposedError, DTypeError, ShapeError } from "./errors.ts";
import * as copy from "./ops/copy.ts";
import * as elementwise from "./ops/elementwise.ts";
import * as matrix from "./ops/matmul.ts";
import type { AxesArgument } from "./ops/reduce.ts";
import * as reductions from "./ops/reduce.ts";
import * as softmaxes from "./ops/softmax.ts";
import * as views from "./ops/view.ts";
import type { Storage } from "./pool.ts";
import { type History, keep, type Scope, scope, track } from "./scope.ts";
import { broadcastShapes, contiguousStrides, isContiguous, normalizeAxis, numel, type Shape } from "./shape.ts";

/** Nested arrays of numbers, or a typed array. */
export type TensorLike =
  | number
  | readonly TensorLike[]
  | Float32Array
  | Float64Array
  | Int32Array
  | Uint32Array
  | Uint8Array;

/**
 * Elements of one dtype at `offset + Σ index · stride` of a storage. Using a tensor never consumes it; it lives until `dispose()`, the end of
 * its `scope()`, or the end of a `using` block. Handles are cheap: views share the storage, which is given back with its last handle.
 */
export class Tensor {
  /** Marks tensors across copies of the package. */
  readonly isTensor = true;
  readonly device: Device;
  readonly shape: Shape;
  readonly strides: Shape;
  readonly dtype: DType;
  /** How an upper floor says this was made; null for leaves. */
  history: History | null = null;
  /** @internal The scope that disposes of it; null for what lives until `dispose()`. */
  owner: Scope | null = null;
  /** Named in messages and memory reports, for instance the module path of a parameter. */
  label = "";
  #storage: Storage | null;
  #offset: number;

  /** Takes over one reference of `storage`. */
  constructor(
    device: Device,
    storage: Storage,
    shape: Shape,
    dtype: DType,
    strides: Shape = contiguousStrides(shape),
    offset = 0,
  ) {
    this.device = device;
    this.#storage = storage;
    this.shape = shape;
    this.dtype = dtype;
    this.strides = strides;
    this.#offset = offset;
    track(this);
  }

  /** A contiguous tensor whose content is undefined. Throws {@link DTypeError} for f16 on a device without it. */
  static empty(device: Device, shape: Shape, dtype: DType = "f32", label = "tensor"): Tensor {
    if (dtype === "f16" && !device.capabilities.f16)
      throw new DTypeError(label, ["f16"], "this device has no shader-f16; use f32");
    const bytes = Math.ceil((numel(shape) * BYTES[dtype]) / 16) * 16;
    return new Tensor(device, device.allocate(bytes, label), shape, dtype);
  }

  /** The storage. Throws {@link DisposedError} after dispose. */
  get storage(): Storage {
    if (!this.#storage) throw new DisposedError(`tensor ${this.label || `[${this.shape.join(", ")}]`}`);
    return this.#storage;
  }

  /** First element's position in the storage. */
  get offset(): number {
    return this.#offset;
  }

  get disposed(): boolean {
    return this.#storage === null;
  }

  get rank(): number {
    return this.shape.length;
  }

  /** Number of elements. */
  get numel(): number {
    return numel(this.shape);
  }

  /** Size of one axis, counted from either end. */
  size(axis: number): number {
    return this.shape[normalizeAxis("size", this.shape, axis)]!;
  }

  get isContiguous(): boolean {
    return isContiguous(this.shape, this.strides);
  }

  /** Gives the memory back unless other handles share it. Harmless when called twice. */
  dispose(): void {
    this.#storage?.release();
    this.#storage = null;
    this.history?.ownerDisposed?.();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal A view of the same memory without a record; `reshape`, `permute`, `expand` and `slice` are the recorded forms. */
  view(shape: Shape, strides: Shape = contiguousStrides(shape), offset = this.offset): Tensor {
    return new Tensor(this.device, this.storage.retain(), shape, this.dtype, strides, offset);
  }

  /** @internal `permute` without a record, for use inside ops. */
  permuted(axes: readonly number[]): Tensor {
    return this.view(
      axes.map((a) => this.shape[a]!),
      axes.map((a) => this.strides[a]!),
    );
  }

  /** @internal `expand` without a record, for use inside ops. */
  expanded(shape: Shape): Tensor {
    const lead = shape.length - this.rank;
    return this.view(
      shape,
      shape.map((_, i) => (i < lead || this.shape[i - lead] === 1 ? 0 : this.strides[i - lead]!)),
    );
  }

  /** @internal Moves this handle to the memory of `home`, a contiguous tensor of the same size: parameters are gathered into packed groups so. */
  moveTo(home: Tensor): void {
    const storage = home.storage.retain();
    this.#storage?.release();
    this.#storage = storage;
    this.#offset = home.offset;
  }

  /** A second handle on the same elements that no scope disposes and that has no history. */
  alias(): Tensor {
    return keep(this.view(this.shape, this.strides));
  }

  /** The same elements without history: gradients stop here. */
  detach(): Tensor {
    return this.view(this.shape, this.strides);
  }

  // Reading back.

  /** The elements in row-major order; f16 is widened to f32, bool is 0/1. Rejects with the first WebGPU error or {@link DeviceLostError}. */
  async data(): Promise<HostArrays[DType]> {
    const count = this.numel;
    if (count === 0) return decode(new ArrayBuffer(0), this.dtype, 0);
    const bytes = BYTES[this.dtype];
    const direct = this.isContiguous && (this.offset * bytes) % 4 === 0;
    const source = direct ? this.alias() : keep(copy.contiguous(this));
    try {
      const read = await this.device.read(source.storage, source.offset * bytes, Math.ceil((count * bytes) / 4) * 4);
      return decode(read, this.dtype, count);
    } finally {
      source.dispose();
    }
  }

  /** The only element as a number. Throws {@link ShapeError} when there is not exactly one. */
  async item(): Promise<number> {
    if (this.numel !== 1) throw new ShapeError("item", [this.shape], "needs exactly one element");
    return (await this.data())[0]!;
  }

  // In place, on leaves only: no history is recorded.

  /** Sets every element of a contiguous tensor. */
  fill_(value: number): this {
    const count = this.numel;
    if (!this.isContiguous) throw new ShapeError("fill_", [this.shape], "needs a contiguous tensor");
    if (count === 0) return this;
    const storage = STORAGE[this.dtype];
    const params = {
      offset: this.offset,
      count,
      value,
      bits: this.dtype === "i32" ? value >>> 0 : Math.max(0, this.dtype === "bool" ? Number(value !== 0) : value),
    };
    const defines = { O: storage, FLOAT: isFloat(this.dtype) };
    if (count % 4 === 0 && this.offset % 4 === 0) {
      const inFours = { ...params, offset: this.offset / 4, count: count / 4 };
      this.device.run(fillWide, defines, [this.storage], inFours, linearGrid(count, FILL_WIDE_GROUP));
      return this;
    }
    this.device.run(fillKernel, defines, [this.storage], params, linearGrid(count, 256));
    return this;
  }

  /** Copies `source` (broadcast to this shape, converted to this dtype) into this tensor's elements. Throws {@link ShapeError}. */
  copy_(source: Tensor): this {
    const shape = broadcastShapes("copy_", [this.shape, source.shape]);
    if (shape.length !== this.rank || shape.some((n, i) => n !== this.shape[i]))
      throw new ShapeError("copy_", [this.shape, source.shape], "the source must broadcast to this tensor's shape");
    const fitting = source.expanded(this.shape);
    copy.copyInto(this, { strides: this.strides, offset: this.offset }, fitting);
    fitting.dispose();
    return this;
  }

  /** Adds `source` of this shape to this tensor's elements. */
  add_(source: Tensor): this {
    if (source.shape.length !== this.rank || source.shape.some((n, i) => n !== this.shape[i]))
      throw new ShapeError("add_", [this.shape, source.shape], "shapes must be equal");
    copy.copyInto(this, { strides: this.strides, offset: this.offset }, source, true);
    return this;
  }

  /** Writes host values into a contiguous tensor. */
  write_(values: ArrayLike<number>): this {
    if (values.length !== this.numel || !this.isContiguous)
      throw new ShapeError(
        "write_",
        [this.shape, [values.length]],
        "needs as many values as elements of a contiguous tensor",
      );
    // The queue takes the bytes at once, so f32 needs no copy.
    const bytes =
      this.dtype === "f32" && values instanceof Float32Array
        ? new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength)
        : encode(values, this.dtype);
    const at = this.offset * BYTES[this.dtype];
    if (at % 4 === 0 && bytes.byteLength % 4 === 0) {
      this.device.write(this.storage, at, bytes);
      return this;
    }
    // The queue writes whole words, which here hold a neighbour's half as well.
    const staged = tensor(this.device, Array.from(values), this.shape, this.dtype);
    this.copy_(staged);
    staged.dispose();
    return this;
  }

  // Elementwise.

  add(other: Tensor | number): Tensor {
    return elementwise.binary("add", this, other);
  }
  sub(other: Tensor | number): Tensor {
    return elementwise.binary("sub", this, other);
  }
  mul(other: Tensor | number): Tensor {
    return elementwise.binary("mul", this, other);
  }
  div(other: Tensor | number): Tensor {
    return elementwise.binary("div", this, other);
  }
  pow(exponent: Tensor | number): Tensor {
    return elementwise.binary("pow", this, exponent);
  }
  maximum(other: Tensor | number): Tensor {
    return elementwise.binary("maximum", this, other);
  }
  minimum(other: Tensor | number): Tensor {
    return elementwise.binary("minimum", this, other);
  }
  eq(other: Tensor | number): Tensor {
    return elementwise.binary("eq", this, other);
  }
  ne(other: Tensor | number): Tensor {
    return elementwise.binary("ne", this, other);
  }
  lt(other: Tensor | number): Tensor {
    return elementwise.binary("lt", this, other);
  }
  le(other: Tensor | number): Tensor {
    return elementwise.binary("le", this, other);
  }
  gt(other: Tensor | number): Tensor {
    return elementwise.binary("gt", this, other);
  }
  ge(other: Tensor | number): Tensor {
    return elementwise.binary("ge", this, other);
  }
  neg(): Tensor {
    return elementwise.unary("neg", this);
  }
  abs(): Tensor {
    return elementwise.unary("abs", this);
  }
  sign(): Tensor {
    return elementwise.unary("sign", this);
  }
  square(): Tensor {
    return elementwise.unary("square", this);
  }
  reciprocal(): Tensor {
    return elementwise.unary("reciprocal", this);
  }
  exp(): Tensor {
    return elementwise.unary("exp", this);
  }
  log(): Tensor {
    return elementwise.unary("log", this);
  }
  sqrt(): Tensor {
    return elementwise.unary("sqrt", this);
  }
  rsqrt(): Tensor {
    return elementwise.unary("rsqrt", this);
  }
  sin(): Tensor {
    return elementwise.unary("sin", this);
  }
  cos(): Tensor {
    return elementwise.unary("cos", this);
  }
  tanh(): Tensor {
    return elementwise.unary("tanh", this);
  }
  floor(): Tensor {
    return elementwise.unary("floor", this);
  }
  sigmoid(): Tensor {
    return elementwise.unary("sigmoid", this);
  }
  silu(): Tensor {
    return elementwise.unary("silu", this);
  }
  /** Exact GELU, x · Φ(x). */
  gelu(): Tensor {
    return elementwise.unary("gelu", this);
  }
  quickGelu(): Tensor {
    return elementwise.unary("quickGelu", this);
  }
  relu(): Tensor {
    return elementwise.unary("relu", this);
  }
  softplus(): Tensor {
    return elementwise.unary("softplus", this);
  }
  isnan(): Tensor {
    return elementwise.unary("isnan", this);
  }
  isfinite(): Tensor {
    return elementwise.unary("isfinite", this);
  }
  clamp(low: number, high: number): Tensor {
    return elementwise.clamp(this, low, high);
  }

  // Reductions; axes undefined means all.

  sum(axes?: AxesArgument, keepdim = false): Tensor {
    return reductions.sum(this, axes, keepdim);
  }
  mean(axes?: AxesArgument, keepdim = false): Tensor {
    return reductions.mean(this, axes, keepdim);
  }
  amax(axes?: AxesArgument, keepdim = false): Tensor {
    return reductions.amax(this, axes, keepdim);
  }
  amin(axes?: AxesArgument, keepdim = false): Tensor {
    return reductions.amin(this, axes, keepdim);
  }
  var(axes?: AxesArgument, correction = 1, keepdim = false): Tensor {
    return reductions.variance(this, axes, correction, keepdim);
  }
  argmax(axis: number, keepdim = false): Tensor {
    return reductions.argmax(this, axis, keepdim);
  }

  softmax(dim: number): Tensor {
    return softmaxes.softmax(this, dim);
  }
  logSoftmax(dim: number): Tensor {
    return softmaxes.logSoftmax(this, dim);
  }

  // Products.

  matmul(other: Tensor): Tensor {
    return matrix.matmul(this, other);
  }
  linear(weight: Tensor, bias: Tensor | null = null, activation: Activation = "none"): Tensor {
    return matrix.linear(this, weight, bias, activation);
  }

  // Shape and type.

  reshape(...shape: number[]): Tensor {
    return views.reshape(this, shape);
  }
  permute(...axes: number[]): Tensor {
    return views.permute(this, axes);
  }
  transpose(first: number, second: number): Tensor {
    const x = normalizeAxis("transpose", this.shape, first);
    const y = normalizeAxis("transpose", this.shape, second);
    return views.permute(
      this,
      this.shape.map((_, i) => (i === x ? y : i === y ? x : i)),
    );
  }
  expand(...shape: number[]): Tensor {
    return views.expand(this, shape);
  }
  slice(axis: number, start: number, end?: number, step = 1): Tensor {
    return views.slice(this, axis, start, end, step);
  }
  /** One position of an axis; the axis goes away. */
  select(axis: number, index: number): Tensor {
    const at = normalizeAxis("select", this.shape, axis);
    const from = index < 0 ? index + this.shape[at]! : index;
    if (from < 0 || from >= this.shape[at]!)
      throw new ShapeError("select", [this.shape], `index ${index} is outside axis ${at}`);
    return scope(() => views.slice(this, at, from, from + 1).squeeze(at));
  }
  /** Cuts an axis into equal parts. */
  chunk(parts: number, axis: number): Tensor[] {
    const size = this.size(axis);
    if (size % parts)
      throw new ShapeError("chunk", [this.shape], `axis ${axis} (${size}) does not divide into ${parts}`);
    return views.split(this, new Array<number>(parts).fill(size / parts), axis);
  }
  flatten(start = 0, end = -1): Tensor {
    const from = normalizeAxis("flatten", this.shape, start);
    const to = normalizeAxis("flatten", this.shape, end);
    return views.reshape(this, [
      ...this.shape.slice(0, from),
      numel(this.shape.slice(from, to + 1)),
      ...this.shape.slice(to + 1),
    ]);
  }
  unsqueeze(axis: number): Tensor {
    const at = axis < 0 ? axis + this.rank + 1 : axis;
    return views.reshape(this, [...this.shape.slice(0, at), 1, ...this.shape.slice(at)]);
  }
  squeeze(axis: number): Tensor {
    const at = normalizeAxis("squeeze", this.shape, axis);
    if (this.shape[at] !== 1) throw new ShapeError("squeeze", [this.shape], `axis ${axis} must have size 1`);
    return views.reshape(
      this,
      this.shape.filter((_, i) => i !== at),
    );
  }
  /** A contiguous tensor of the same elements: itself where it is one already. */
  contiguous(): Tensor {
    return this.isContiguous ? this : elementwise.unary("identity", this);
  }
  /** A copy in memory of its own. */
  clone(): Tensor {
    return elementwise.unary("identity", this);
  }
  to(dtype: DType): Tensor {
    return copy.cast(this, dtype);
  }
}

function flattenValues(value: TensorLike, shape: number[], out: number[], depth = 0): void {
  if (typeof value === "number") {
    out.push(value);
    return;
  }
  const list = value as ArrayLike<TensorLike>;
  if (shape.length === depth) shape.push(list.length);
  if (shape[depth] !== list.length)
    throw new ShapeError(
      "tensor",
      [shape],
      `nested arrays are ragged: ${list.length} where ${shape[depth]} came before`,
    );
  for (let i = 0; i < list.length; i++) flattenValues(list[i]!, shape, out, depth + 1);
}

/**
 * A tensor of host values: nested arrays give their own shape, flat or typed arrays take `shape`.
 * dtype: f32, or by the typed array (Int32Array → i32, Uint32Array → u32). Throws {@link ShapeError} when the counts differ.
 */
export function tensor(device: Device, values: TensorLike, shape?: Shape, dtype?: DType): Tensor {
  let flat: ArrayLike<number>;
  let own: number[] = [];
  if (ArrayBuffer.isView(values)) {
    flat = values as Float32Array;
    own = [flat.length];
  } else {
    const out: number[] = [];
    flattenValues(values, own, out);
    flat = out;
  }
  const size = shape ?? own;
  if (numel(size) !== flat.length) throw new ShapeError("tensor", [size, own], `${flat.length} values do not fill it`);
  const type = dtype ?? (values instanceof Int32Array ? "i32" : values instanceof Uint32Array ? "u32" : "f32");
  const made = Tensor.empty(device, size, type);
  if (flat.length) device.write(made.storage, 0, encode(flat, type));
  return made;
}

/**
 * As {@link tensor}, for values that never change: allowed in a captured function too, whose plan holds them.
 * Nothing may write into it.
 */
export function constant(device: Device, values: ArrayLike<number>, shape: Shape, dtype: DType = "f32"): Tensor {
  if (numel(shape) !== values.length)
    throw new ShapeError("constant", [shape], `${values.length} values do not fill it`);
  const bytes = encode(values, dtype);
  const size = Math.ceil(bytes.byteLength / 16) * 16;
  return new Tensor(device, device.allocateConstant(bytes, size, "constant"), shape, dtype);
}

/** A tensor filled with `value`. */
export function full(device: Device, shape: Shape, value: number, dtype: DType = "f32"): Tensor {
  return Tensor.empty(device, shape, dtype).fill_(value);
}

export const zeros = (device: Device, shape: Shape, dtype: DType = "f32"): Tensor => full(device, shape, 0, dtype);
export const ones = (device: Device, shape: Shape, dtype: DType = "f32"): Tensor => full(device, shape, 1, dtype);

/** start, start + step, … below `end`. */
export function arange(device: Device, start: number, end: number, step = 1, dtype: DType = "f32"): Tensor {
  const values = Array.from({ length: Math.max(0, Math.ceil((end - start) / step)) }, (_, i) => start + i * step);
  return tensor(device, values, [values.length], dtype);
}

/** An undefined tensor of x's shape and dtype. */
export const emptyLike = (x: Tensor): Tensor => Tensor.empty(x.device, x.shape, x.dtype);
export const zerosLike = (x: Tensor): Tensor => emptyLike(x).fill_(0);
export const onesLike = (x: Tensor): Tensor => emptyLike(x).fill_(1);
