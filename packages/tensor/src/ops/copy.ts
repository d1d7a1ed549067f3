/** Ops that move elements: contiguous copies, casts, concatenation, placing in a larger tensor. */
import {
  COPY_WIDE_GROUP,
  copyFlat,
  copyStrided,
  copyWide,
  cutIntoRuns,
  linearGrid,
  runDefines,
} from "@refl/kernels-wgsl";
import { type DType, STORAGE } from "../dtype.ts";
import { DTypeError, ShapeError } from "../errors.ts";
import { apply, type ForwardTable } from "../op.ts";
import { scope } from "../scope.ts";
import { contiguousStrides, isContiguous, mergeAxes, normalizeAxis, numel, type Shape } from "../shape.ts";
import { Tensor } from "../tensor.ts";

export interface CopyAttrs {
  cast: { readonly dtype: DType };
  cat: { readonly axis: number };
  /** Places the operand in a tensor of `shape` filled with `value`, element i of an axis at `starts + i · steps`. */
  place: { readonly shape: Shape; readonly starts: Shape; readonly steps: Shape; readonly value: number };
}

/** A strided region of a storage: where a copy reads or writes. */
interface Region {
  readonly strides: Shape;
  readonly offset: number;
}

/** Elements from which vec4s pay their further pipeline. */
const LEAST_WIDE = 1 << 17;

/** Copies `from` into `region` of `to`, converting the type; adds instead where `accumulate`. No history is recorded. */
export function copyInto(to: Tensor, region: Region, from: Tensor, accumulate = false): void {
  const count = numel(from.shape);
  if (count === 0) return;
  const defines = {
    A: STORAGE[from.dtype],
    O: STORAGE[to.dtype],
    ACCUMULATE: accumulate,
    TO_BOOL: to.dtype === "bool" && from.dtype !== "bool",
  };
  const merged = mergeAxes(from.shape, [from.strides, region.strides]);
  const flat =
    merged.shape.length === 0 ||
    (merged.shape.length === 1 && merged.strides[0]![0] === 1 && merged.strides[1]![0] === 1);
  const wide = count >= LEAST_WIDE && [count, from.offset, region.offset].every((n) => n % 4 === 0) && !defines.TO_BOOL;
  if (flat && wide) {
    from.device.run(
      copyWide,
      defines,
      [from.storage, to.storage],
      { offsetA: from.offset / 4, offsetO: region.offset / 4, count: count / 4 },
      linearGrid(count, COPY_WIDE_GROUP),
    );
    return;
  }
  if (flat) {
    from.device.run(
      copyFlat,
      defines,
      [from.storage, to.storage],
      { offsetA: from.offset, offsetO: region.offset, count },
      linearGrid(count, 256),
    );
    return;
  }
  const cut = cutIntoRuns(merged.shape, merged.strides);
  const [a, o] = cut.strides as [[number[], number[]], [number[], number[]]];
  const params = {
    shape0: cut.shape[0],
    shape1: cut.shape[1],
    stridesA0: a[0],
    stridesA1: a[1],
    stridesO0: o[0],
    stridesO1: o[1],
    offsetA: from.offset,
    offsetO: region.offset,
    innerA: cut.inner[0]!,
    innerO: cut.inner[1]!,
    runs: cut.runs,
    rank: cut.rank,
    per: cut.per,
  };
  from.device.run(
    copyStrided,
    { ...defines, ...runDefines(merged.shape) },
    [from.storage, to.storage],
    params,
    linearGrid(cut.runs, 256),
  );
}

/** x itself when its memory is in row-major order from an element that vec4 loads can start at, else a copy. Records nothing: for use inside ops. */
export function contiguous(x: Tensor): Tensor {
  return isContiguous(x.shape, x.strides) && x.offset % 4 === 0 ? x : copied(x, x.dtype);
}

function copied(x: Tensor, dtype: DType): Tensor {
  const out = Tensor.empty(x.device, x.shape, dtype);
  copyInto(out, { strides: out.strides, offset: 0 }, x);
  return out;
}

export const copyForward = {
  cast: ([x], { dtype }) => copied(x!, dtype),
  cat: (inputs, { axis }) => {
    const first = inputs[0]!;
    const shape = [...first.shape];
    shape[axis] = inputs.reduce((sum, t) => sum + t.shape[axis]!, 0);
    const out = Tensor.empty(first.device, shape, first.dtype);
    let at = 0;
    for (const input of inputs) {
      copyInto(out, { strides: out.strides, offset: at * out.strides[axis]! }, input);
      at += input.shape[axis]!;
    }
    return out;
  },
  place: ([x], { shape, starts, steps, value }) => {
    const out = Tensor.empty(x!.device, shape, x!.dtype);
    if (!x!.shape.every((size, i) => size === shape[i])) out.fill_(value);
    const strides = contiguousStrides(shape);
    const offset = starts.reduce((sum, start, i) => sum + start * strides[i]!, 0);
    copyInto(out, { strides: strides.map((s, i) => s * steps[i]!), offset }, x!);
    return out;
  },
} satisfies ForwardTable<CopyAttrs>;

/** x in another element type; floats to integers truncate, anything to bool is ≠ 0. x itself when it already has the type. */
export function cast(x: Tensor, dtype: DType): Tensor {
  return x.dtype === dtype ? x : apply("cast", [x], { dtype });
}

/** Joins tensors along `axis`; all other sizes must agree. Throws {@link ShapeError} or {@link DTypeError}. */
export function cat(tensors: readonly Tensor[], axis = 0): Tensor {
  const first = tensors[0];
  if (!first) throw new ShapeError("cat", [], "needs at least one tensor");
  const at = normalizeAxis("cat", first.shape, axis);
  for (const t of tensors) {
    if (t.shape.length !== first.shape.length || t.shape.some((size, i) => i !== at && size !== first.shape[i])) {
      throw new ShapeError("cat", [first.shape, t.shape], `all sizes except axis ${at} must agree`);
    }
    if (t.dtype !== first.dtype) throw new DTypeError("cat", [first.dtype, t.dtype], "operands must have one dtype");
  }
  return apply("cat", tensors, { axis: at });
}

/** Joins tensors of one shape along a new axis. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  const first = tensors[0];
  if (!first) throw new ShapeError("stack", [], "needs at least one tensor");
  const at = axis < 0 ? axis + first.shape.length + 1 : axis;
  return scope(() =>
    cat(
      tensors.map((t) => t.unsqueeze(at)),
      at,
    ),
  );
}

/** Pads with `value`. `padding` is PyTorch's: pairs (before, after) starting from the last axis. */
export function pad(x: Tensor, padding: readonly number[], value = 0): Tensor {
  if (padding.length % 2 || padding.length > 2 * x.shape.length || padding.some((n) => n < 0)) {
    throw new ShapeError(
      "pad",
      [x.shape],
      `padding [${padding.join(", ")}] must be non-negative pairs for at most ${x.shape.length} axes`,
    );
  }
  const starts = x.shape.map(() => 0);
  const shape = [...x.shape];
  for (let pair = 0; pair < padding.length / 2; pair++) {
    const axis = x.shape.length - 1 - pair;
    starts[axis] = padding[2 * pair]!;
    shape[axis]! += padding[2 * pair]! + padding[2 * pair + 1]!;
  }
  return apply("place", [x], { shape, starts, steps: x.shape.map(() => 1), value });
}
