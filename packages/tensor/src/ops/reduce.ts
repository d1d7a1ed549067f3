/** Reductions over any axes: sum, mean, largest, smallest, variance, and the index of the largest. */
import {
  argmax as argmaxKernel,
  type FoldName,
  reduce as kernel,
  linearGrid,
  reduceChunks,
  reduceDefines,
} from "@refl/kernels-wgsl";
import { isFloat, STORAGE } from "../dtype.ts";
import { DTypeError, ShapeError } from "../errors.ts";
import { apply, type ForwardTable } from "../op.ts";
import { mergeAxes, normalizeAxes, normalizeAxis, numel } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { contiguous } from "./copy.ts";
import { sumMuch } from "./sum.ts";

/** `axes` are sorted and non-negative. */
interface Axes {
  readonly axes: readonly number[];
  readonly keepdim: boolean;
}

export interface ReduceAttrs {
  sum: Axes;
  mean: Axes;
  amax: Axes;
  amin: Axes;
  /** Divisor is the number of elements − `correction`. */
  variance: Axes & { readonly correction: number };
  argmax: { readonly axis: number; readonly keepdim: boolean };
}

function reducedShape(shape: readonly number[], { axes, keepdim }: Axes): number[] {
  return keepdim ? shape.map((size, i) => (axes.includes(i) ? 1 : size)) : shape.filter((_, i) => !axes.includes(i));
}

interface Fold {
  readonly fold: FoldName;
  readonly scale?: number;
  /** The means that squared deviations are taken from, one per output. */
  readonly mean?: Tensor;
}

/** Folds x over `axes` into a fresh tensor of its dtype; partial results of floats are f32. */
function foldAxes(x: Tensor, attrs: Axes, { fold, scale, mean }: Fold): Tensor {
  const kept = x.shape.map((_, i) => i).filter((i) => !attrs.axes.includes(i));
  const out = Tensor.empty(x.device, reducedShape(x.shape, attrs), x.dtype);
  const outputs = numel(kept.map((i) => x.shape[i]!));
  const count = numel(attrs.axes.map((i) => x.shape[i]!));
  if (outputs === 0) return out;
  const merge = (source: Tensor, axes: readonly number[]): { shape: number[]; strides: number[] } => {
    const merged = mergeAxes(
      axes.map((i) => source.shape[i]!),
      [axes.map((i) => source.strides[i]!)],
    );
    return { shape: merged.shape, strides: merged.strides[0]! };
  };
  let source = x;
  let keptAxes = merge(source, kept);
  let foldedAxes = merge(source, attrs.axes);
  if (fold === "sum" && !mean && sumMuch(x, keptAxes, foldedAxes, out, scale ?? 1)) return out;
  if (keptAxes.shape.length > 4 || foldedAxes.shape.length > 2) {
    source = contiguous(x.permuted([...kept, ...attrs.axes]));
    keptAxes = { shape: [outputs], strides: [count] };
    foldedAxes = { shape: [count], strides: [1] };
  }
  const chunks = reduceChunks(outputs, count);
  const float = isFloat(x.dtype);
  const partial = chunks > 1 ? Tensor.empty(x.device, [outputs, chunks], float ? "f32" : x.dtype) : out;
  const lead = <T>(list: T[], fill: T, length: number): T[] => [
    ...new Array<T>(length - list.length).fill(fill),
    ...list,
  ];
  const rows = lead(foldedAxes.shape, 1, 2);
  x.device.run(
    kernel,
    reduceDefines(fold, STORAGE[x.dtype], STORAGE[partial.dtype], mean !== undefined),
    mean ? [source.storage, mean.storage, partial.storage] : [source.storage, partial.storage],
    {
      keptShape: lead(keptAxes.shape, 1, 4),
      keptStrides: lead(keptAxes.strides, 0, 4),
      foldShape: rows,
      foldStrides: lead(foldedAxes.strides, 0, 2),
      offset: source.offset,
      outputs,
      count,
      chunks,
      chunk: Math.ceil(count / chunks),
      scale: chunks === 1 ? (scale ?? 1) : 1,
    },
    linearGrid(outputs * chunks, 64),
  );
  if (chunks > 1) {
    x.device.run(
      kernel,
      reduceDefines(fold, STORAGE[partial.dtype], STORAGE[out.dtype]),
      [partial.storage, out.storage],
      {
        keptShape: [1, 1, 1, outputs],
        keptStrides: [0, 0, 0, chunks],
        foldShape: [1, chunks],
        foldStrides: [0, 1],
        offset: 0,
        outputs,
        count: chunks,
        chunks: 1,
        chunk: chunks,
        scale: scale ?? 1,
      },
      linearGrid(outputs, 64),
    );
  }
  return out;
}

const countOf = (x: Tensor, axes: readonly number[]): number => numel(axes.map((i) => x.shape[i]!));

export const reduceForward = {
  sum: ([x], attrs) => foldAxes(x!, attrs, { fold: "sum" }),
  mean: ([x], attrs) => foldAxes(x!, attrs, { fold: "sum", scale: 1 / countOf(x!, attrs.axes) }),
  amax: ([x], attrs) => foldAxes(x!, attrs, { fold: "max" }),
  amin: ([x], attrs) => foldAxes(x!, attrs, { fold: "min" }),
  variance: ([x], attrs) => {
    const count = countOf(x!, attrs.axes);
    const wide = x!.dtype === "f32" ? x! : x!.to("f32");
    const mean = foldAxes(wide, attrs, { fold: "sum", scale: 1 / count });
    return foldAxes(wide, attrs, { fold: "sum", scale: 1 / (count - attrs.correction), mean }).to(x!.dtype);
  },
  argmax: ([x], { axis, keepdim }) => {
    const order = [...x!.shape.keys()].filter((i) => i !== axis).concat(axis);
    const rows = contiguous(x!.permuted(order));
    const columns = x!.shape[axis]!;
    const out = Tensor.empty(x!.device, reducedShape(x!.shape, { axes: [axis], keepdim }), "i32");
    const count = numel(out.shape);
    if (count)
      x!.device.run(
        argmaxKernel,
        { A: STORAGE[x!.dtype] },
        [rows.storage, out.storage],
        { offset: rows.offset, rows: count, columns },
        linearGrid(count, 64),
      );
    return out;
  },
} satisfies ForwardTable<ReduceAttrs>;

/** Axes as users give them; undefined means all. */
export type AxesArgument = number | readonly number[] | undefined;

function reduceOp(op: "sum" | "mean" | "amax" | "amin", x: Tensor, axes: AxesArgument, keepdim: boolean): Tensor {
  if (x.dtype === "bool" || (op === "mean" && !isFloat(x.dtype)))
    throw new DTypeError(op, [x.dtype], op === "mean" ? "needs f32 or f16" : "cast to i32 first");
  const list = normalizeAxes(op, x.shape, axes);
  if ((op === "amax" || op === "amin") && countOf(x, list) === 0 && numel(x.shape) === 0)
    throw new ShapeError(op, [x.shape], "the largest of no elements is undefined");
  return apply(op, [x], { axes: list, keepdim });
}

/** Sum over `axes` (all by default). Empty axes sum to 0. */
export const sum = (x: Tensor, axes?: AxesArgument, keepdim = false): Tensor => reduceOp("sum", x, axes, keepdim);
/** Mean over `axes`; x is f32 or f16. */
export const mean = (x: Tensor, axes?: AxesArgument, keepdim = false): Tensor => reduceOp("mean", x, axes, keepdim);
/** Largest over `axes`. Its gradient is shared evenly among equal elements, as PyTorch's. */
export const amax = (x: Tensor, axes?: AxesArgument, keepdim = false): Tensor => reduceOp("amax", x, axes, keepdim);
/** Smallest over `axes`; gradient as {@link amax}. */
export const amin = (x: Tensor, axes?: AxesArgument, keepdim = false): Tensor => reduceOp("amin", x, axes, keepdim);

/** Variance over `axes` in two passes; the divisor is count − correction (1, as PyTorch). */
export function variance(x: Tensor, axes?: AxesArgument, correction = 1, keepdim = false): Tensor {
  if (!isFloat(x.dtype)) throw new DTypeError("variance", [x.dtype], "needs f32 or f16");
  return apply("variance", [x], { axes: normalizeAxes("variance", x.shape, axes), correction, keepdim });
}

/** Index (i32) of the first largest element along `axis`; it has no gradient. */
export function argmax(x: Tensor, axis: number, keepdim = false): Tensor {
  const at = normalizeAxis("argmax", x.shape, axis);
  if (x.shape[at] === 0) throw new ShapeError("argmax", [x.shape], `axis ${at} is empty`);
  return apply("argmax", [x], { axis: at, keepdim });
}
