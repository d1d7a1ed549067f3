/** Elementwise ops: type rules, broadcasting, and the choice between the contiguous and the strided kernel. */
import {
  cutIntoRuns,
  type ElementwiseOp,
  type ElementwiseOpName,
  elementwiseContiguous,
  elementwiseDefines,
  elementwiseOps,
  elementwiseStrided,
  linearGrid,
  PER_GROUP,
  runDefines,
} from "@refl/kernels-wgsl";
import { type DType, isFloat, STORAGE } from "../dtype.ts";
import { DTypeError } from "../errors.ts";
import { apply, type ForwardTable } from "../op.ts";
import { broadcastShapes, broadcastStrides, isContiguous, mergeAxes, numel } from "../shape.ts";
import { emptyLike, Tensor } from "../tensor.ts";

/** Scalars of an elementwise op: the second operand of a binary op as a number (`swap` makes it the first), or the bounds of `clamp`. */
export interface ScalarAttrs {
  readonly scalar?: number;
  readonly scalar2?: number;
  readonly swap?: boolean;
}

export type ElementwiseAttrs = { [K in ElementwiseOpName]: ScalarAttrs };

function resultType(name: ElementwiseOpName, inputs: readonly Tensor[]): DType {
  const op: ElementwiseOp = elementwiseOps[name];
  const values = name === "where" ? inputs.slice(1) : inputs;
  const dtype = values[0]!.dtype;
  const dtypes = inputs.map((t) => t.dtype);
  if (values.some((t) => t.dtype !== dtype))
    throw new DTypeError(name, dtypes, "operands must have one dtype; cast with .to(dtype)");
  if (op.domain === "float" && !isFloat(dtype)) throw new DTypeError(name, dtypes, "needs f32 or f16");
  if (op.domain === "signed" && dtype === "u32")
    throw new DTypeError(name, dtypes, "needs signed numbers; cast with .to(dtype)");
  if ((op.domain === "number" || op.domain === "signed") && dtype === "bool")
    throw new DTypeError(name, dtypes, "needs numbers; cast with .to(dtype)");
  return op.result === "bool" ? "bool" : dtype;
}

/** The same numbers by an op that a step computes anyway, so that it compiles fewer pipelines: x − s is x + (−s), −x is x · (−1), x² is x · x. */
function run(name: ElementwiseOpName, inputs: readonly Tensor[], attrs: ScalarAttrs): Tensor {
  if (inputs.length === 1 && isFloat(inputs[0]!.dtype)) {
    if (name === "sub" && !attrs.swap) return dispatch("add", inputs, { scalar: -attrs.scalar! });
    if (name === "neg") return dispatch("mul", inputs, { scalar: -1 });
    if (name === "square") return dispatch("mul", [inputs[0]!, inputs[0]!], {});
  }
  return dispatch(name, inputs, attrs);
}

function dispatch(name: ElementwiseOpName, inputs: readonly Tensor[], attrs: ScalarAttrs): Tensor {
  const shape = broadcastShapes(
    name,
    inputs.map((t) => t.shape),
  );
  const dtype = resultType(name, inputs);
  const first = inputs[0]!;
  const out = Tensor.empty(first.device, shape, dtype);
  const count = numel(shape);
  if (count === 0) return out;
  const defines = elementwiseDefines(
    name,
    inputs.map((t) => STORAGE[t.dtype]),
    STORAGE[dtype],
    attrs.swap,
  );
  const storages = [...inputs.map((t) => t.storage), out.storage];
  const scalars = { s0: attrs.scalar ?? 0, s1: attrs.scalar2 ?? 0 };
  const aligned = inputs.every(
    (t) => t.offset % 4 === 0 && numel(t.shape) === count && isContiguous(t.shape, t.strides),
  );
  if (aligned) {
    const count4 = Math.ceil(count / 4);
    const offsets = inputs.map((t) => t.offset / 4);
    first.device.run(
      elementwiseContiguous,
      defines,
      storages,
      { offsets, count4, ...scalars },
      linearGrid(count, PER_GROUP.elements),
    );
    return out;
  }
  const merged = mergeAxes(
    shape,
    inputs.map((t) => broadcastStrides(t.shape, t.strides, shape)),
  );
  const cut = cutIntoRuns(merged.shape, merged.strides);
  const [a, b, c] = [0, 1, 2].map((k) => cut.strides[k] ?? [[], []]) as [number[], number[]][];
  first.device.run(
    elementwiseStrided,
    { ...defines, ...runDefines(merged.shape) },
    storages,
    {
      shape0: cut.shape[0],
      shape1: cut.shape[1],
      stridesA0: a![0],
      stridesA1: a![1],
      stridesB0: b![0],
      stridesB1: b![1],
      stridesC0: c![0],
      stridesC1: c![1],
      offsets: inputs.map((t) => t.offset),
      inner: cut.inner,
      runs: cut.runs,
      rank: cut.rank,
      per: cut.per,
      ...scalars,
    },
    linearGrid(cut.runs, PER_GROUP.runs),
  );
  return out;
}

export const elementwiseForward = Object.fromEntries(
  (Object.keys(elementwiseOps) as ElementwiseOpName[]).map((name) => [
    name,
    (inputs: readonly Tensor[], attrs: ScalarAttrs) => run(name, inputs, attrs),
  ]),
) as ForwardTable<ElementwiseAttrs>;

export type UnaryName = {
  [K in ElementwiseOpName]: (typeof elementwiseOps)[K]["arity"] extends 1 ? K : never;
}[ElementwiseOpName];
export type BinaryName = {
  [K in ElementwiseOpName]: (typeof elementwiseOps)[K]["arity"] extends 2 ? K : never;
}[ElementwiseOpName];

/** f(x) elementwise. x: any shape. */
export function unary(name: UnaryName, x: Tensor): Tensor {
  return apply(name, [x], {});
}

/** f(x, y) elementwise with broadcasting; y may be a number. Throws ShapeError and DTypeError. */
export function binary(name: BinaryName, x: Tensor, y: Tensor | number): Tensor {
  return typeof y === "number" ? apply(name, [x], { scalar: y }) : apply(name, [x, y], {});
}

/** f(number, y) elementwise: `binaryLeft("div", 1, x)` is 1 / x. */
export function binaryLeft(name: BinaryName, x: number, y: Tensor): Tensor {
  return apply(name, [y], { scalar: x, swap: true });
}

/** condition ? x : y elementwise with broadcasting; condition is bool (or any dtype, then ≠ 0). */
export function where(condition: Tensor, x: Tensor, y: Tensor): Tensor {
  return apply("where", [condition, x, y], {});
}

/** min(max(x, low), high). Its gradient is 0 where x is at a bound or beyond. */
export function clamp(x: Tensor, low: number, high: number): Tensor {
  return apply("clamp", [x], { scalar: low, scalar2: high });
}

/** The gradient of {@link clamp}'s operand x, given its result's. */
export function clampBackward(gradient: Tensor, x: Tensor, low: number, high: number): Tensor {
  return apply("clampBackward", [gradient, x], { scalar: low, scalar2: high });
}

/** A tensor of x's shape filled with `value`. */
export function fullLike(x: Tensor, value: number): Tensor {
  const out = emptyLike(x);
  out.fill_(value);
  return out;
}
