/** Softmax, log-softmax and cross-entropy. */
import {
  crossEntropyBackwardRows,
  crossEntropyBackwardRowsSubgroup,
  crossEntropyDefines,
  crossEntropyFold,
  crossEntropyFoldSubgroup,
  crossEntropyRows,
  crossEntropyRowsSubgroup,
  type Reduction,
  softmaxBackwardRows,
  softmaxBackwardRowsSubgroup,
  softmaxDefines,
  softmaxRows,
  softmaxRowsSubgroup,
} from "@refl/kernels-wgsl";
import { isFloat } from "../dtype.ts";
import { DTypeError, ShapeError } from "../errors.ts";
import { apply, type ForwardTable } from "../op.ts";
import { normalizeAxis, numel } from "../shape.ts";
import { emptyLike, Tensor } from "../tensor.ts";
import { contiguous } from "./copy.ts";
import { overRows, rowPlan } from "./rows.ts";

interface Axis {
  readonly axis: number;
}

interface CrossEntropy {
  /** Rows of this class count nothing. */
  readonly ignoreIndex: number;
  /** Share of the target that is spread evenly over all classes. */
  readonly labelSmoothing: number;
  readonly reduction: Reduction;
}

export interface SoftmaxAttrs {
  softmax: Axis;
  logSoftmax: Axis;
  /** Inputs: gradient, result. */
  softmaxBackward: Axis;
  logSoftmaxBackward: Axis;
  /** Inputs: logits [N, C], classes [N] i32. Further outputs: row statistics [N, 2] and, for the mean, the number of rows counted [1]. */
  crossEntropy: CrossEntropy;
  /** Inputs: gradient, logits, classes, statistics and, for the mean, the count. */
  crossEntropyBackward: CrossEntropy;
}

type FloatType = "f32" | "f16";

const SOFTMAX = [softmaxRows];
const SOFTMAX_BACKWARD = [softmaxBackwardRows];
const CROSS_ENTROPY = [crossEntropyRows];
const CROSS_ENTROPY_BACKWARD = [crossEntropyBackwardRows];

/** Rows of a contiguous tensor along `axis`: how many, how long, and how far apart their elements lie. */
function rowsAlong(x: Tensor, axis: number): { rows: number; columns: number; inner: number } {
  const columns = x.shape[axis] ?? 1;
  return { rows: numel(x.shape) / Math.max(columns, 1), columns, inner: numel(x.shape.slice(axis + 1)) };
}

function softmaxOf(x: Tensor, axis: number, log: boolean): Tensor {
  const out = emptyLike(x);
  const { rows, columns, inner } = rowsAlong(x, axis);
  if (x.numel === 0) return out;
  const source = contiguous(x);
  const work = { op: "softmax", type: x.dtype as FloatType, rows, columns, inner, kernels: SOFTMAX };
  overRows(x.device, work, ({ layout, grid, width }) => {
    const params = { offset: source.offset / width, rows, columns: columns / width, inner };
    const kernel = layout.lanes === "subgroup" ? softmaxRowsSubgroup : softmaxRows;
    x.device.run(kernel, softmaxDefines(layout, log), [source.storage, out.storage], params, grid);
  });
  return out;
}

function softmaxSlope(gradient: Tensor, result: Tensor, axis: number, log: boolean): Tensor {
  const out = emptyLike(result);
  const { rows, columns, inner } = rowsAlong(result, axis);
  if (result.numel === 0) return out;
  const g = contiguous(gradient);
  const y = contiguous(result);
  const type = result.dtype as FloatType;
  const work = { op: "softmaxBackward", type, rows, columns, inner, kernels: SOFTMAX_BACKWARD };
  overRows(result.device, work, ({ layout, grid, width }) => {
    const params = { offsetG: g.offset / width, offsetY: y.offset / width, rows, columns: columns / width, inner };
    const kernel = layout.lanes === "subgroup" ? softmaxBackwardRowsSubgroup : softmaxBackwardRows;
    result.device.run(kernel, softmaxDefines(layout, log), [g.storage, y.storage, out.storage], params, grid);
  });
  return out;
}

export const softmaxForward = {
  softmax: ([x], { axis }) => softmaxOf(x!, axis, false),
  logSoftmax: ([x], { axis }) => softmaxOf(x!, axis, true),
  softmaxBackward: ([g, y], { axis }) => softmaxSlope(g!, y!, axis, false),
  logSoftmaxBackward: ([g, y], { axis }) => softmaxSlope(g!, y!, axis, true),
  crossEntropy: ([logits, classes], { ignoreIndex, labelSmoothing, reduction }) => {
    const device = logits!.device;
    const [rows, columns] = logits!.shape as [number, number];
    const x = contiguous(logits!);
    const c = contiguous(classes!);
    const losses = Tensor.empty(device, [rows], "f32");
    const stats = Tensor.empty(device, [rows, 2], "f32");
    if (rows) {
      const work = { op: "crossEntropy", type: x.dtype as FloatType, rows, columns, kernels: CROSS_ENTROPY };
      overRows(device, work, ({ layout, grid, width }) => {
        const params = {
          offset: x.offset / width,
          offsetClasses: c.offset,
          rows,
          columns: columns / width,
          ignored: ignoreIndex,
          smoothing: labelSmoothing,
          nan: Number.NaN,
        };
        const kernel = layout.lanes === "subgroup" ? crossEntropyRowsSubgroup : crossEntropyRows;
        const storages = [x.storage, c.storage, losses.storage, stats.storage];
        device.run(kernel, crossEntropyDefines(layout, "none"), storages, params, grid);
      });
    }
    if (reduction === "none") return [losses, stats];
    const mean = reduction === "mean";
    const result = Tensor.empty(device, [], "f32");
    const counted = Tensor.empty(device, [1], "f32");
    const { layout } = rowPlan(device, "f32", 1, rows);
    device.run(
      layout.lanes === "subgroup" ? crossEntropyFoldSubgroup : crossEntropyFold,
      crossEntropyDefines({ ...layout, vec4: false }, reduction),
      mean ? [losses.storage, c.storage, result.storage, counted.storage] : [losses.storage, result.storage],
      { offsetClasses: c.offset, count: rows, ignored: ignoreIndex },
      [1, 1, 1],
    );
    return mean ? [result, stats, counted] : [result, stats];
  },
  crossEntropyBackward: ([gradient, logits, classes, stats, counted], { ignoreIndex, labelSmoothing, reduction }) => {
    const out = emptyLike(logits!);
    const [rows, columns] = logits!.shape as [number, number];
    if (logits!.numel === 0) return out;
    const g = contiguous(gradient!);
    const x = contiguous(logits!);
    const c = contiguous(classes!);
    const type = x.dtype as FloatType;
    const work = { op: "crossEntropyBackward", type, rows, columns, kernels: CROSS_ENTROPY_BACKWARD };
    overRows(out.device, work, ({ layout, grid, width }) => {
      out.device.run(
        layout.lanes === "subgroup" ? crossEntropyBackwardRowsSubgroup : crossEntropyBackwardRows,
        crossEntropyDefines(layout, reduction),
        [g.storage, x.storage, c.storage, stats!.storage, ...(counted ? [counted.storage] : []), out.storage],
        {
          offset: x.offset / width,
          offsetG: g.offset,
          offsetClasses: c.offset,
          rows,
          columns: columns / width,
          ignored: ignoreIndex,
          smoothing: labelSmoothing,
        },
        grid,
      );
    });
    return out;
  },
} satisfies ForwardTable<SoftmaxAttrs>;

function along(op: "softmax" | "logSoftmax", x: Tensor, axis: number): Tensor {
  if (!isFloat(x.dtype)) throw new DTypeError(op, [x.dtype], "needs f32 or f16");
  // A scalar is a row of one element.
  return apply(op, [x], { axis: x.rank === 0 && (axis === -1 || axis === 0) ? 0 : normalizeAxis(op, x.shape, axis) });
}

/** exp(x) / Σ exp(x) along `axis`, computed relative to the largest value. x: f32 or f16 of any shape. Throws ShapeError and DTypeError. */
export const softmax = (x: Tensor, axis = -1): Tensor => along("softmax", x, axis);

/** log softmax(x) along `axis`, without the loss of digits of log(softmax(x)). Throws ShapeError and DTypeError. */
export const logSoftmax = (x: Tensor, axis = -1): Tensor => along("logSoftmax", x, axis);

export interface CrossEntropyOptions {
  /** Rows of this class count nothing. Default −100. */
  ignoreIndex?: number;
  /** ε of the target (1 − ε) one-hot + ε / C. Default 0. */
  labelSmoothing?: number;
  /** Default `mean`: over the rows that are not ignored (NaN when there are none). */
  reduction?: Reduction;
}

/**
 * −log softmax(logits)[class] as `torch.nn.functional.cross_entropy`. logits: [N, C] f32 or f16, classes: [N] i32.
 * Result: f32, a scalar, or [N] for `reduction: "none"`; NaN where a class is outside [0, C). Throws ShapeError and DTypeError.
 */
export function crossEntropy(logits: Tensor, classes: Tensor, options: CrossEntropyOptions = {}): Tensor {
  if (!isFloat(logits.dtype) || classes.dtype !== "i32")
    throw new DTypeError("crossEntropy", [logits.dtype, classes.dtype], "logits must be f32 or f16 and classes i32");
  if (logits.rank !== 2 || classes.rank !== 1 || logits.shape[0] !== classes.shape[0] || logits.shape[1] === 0) {
    throw new ShapeError(
      "crossEntropy",
      [logits.shape, classes.shape],
      "logits must be [N, C] with C > 0 and classes [N]; bring the class axis last and flatten the others",
    );
  }
  return apply("crossEntropy", [logits, classes], {
    ignoreIndex: options.ignoreIndex ?? -100,
    labelSmoothing: options.labelSmoothing ?? 0,
    reduction: options.reduction ?? "mean",
  });
}
