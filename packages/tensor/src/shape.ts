/** Shapes and strides: broadcasting, contiguity, axis normalisation, and merging of axes that kernels need not tell apart. */
import { ShapeError } from "./errors.ts";

export type Shape = readonly number[];

export function numel(shape: Shape): number {
  let count = 1;
  for (const size of shape) count *= size;
  return count;
}

/** Row-major strides in elements. */
export function contiguousStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i]!;
  }
  return strides;
}

/** True when row-major order visits memory without gaps; axes of size 1 may have any stride. */
export function isContiguous(shape: Shape, strides: Shape): boolean {
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== step) return false;
    step *= shape[i]!;
  }
  return true;
}

/** The shape that `shapes` broadcast to by NumPy's rule. Throws {@link ShapeError} naming the axis that does not fit. */
export function broadcastShapes(op: string, shapes: readonly Shape[]): number[] {
  const rank = Math.max(0, ...shapes.map((s) => s.length));
  const out = new Array<number>(rank).fill(1);
  for (const shape of shapes) {
    const lead = rank - shape.length;
    for (let i = 0; i < shape.length; i++) {
      const size = shape[i]!;
      const at = lead + i;
      if (size === 1 || size === out[at]) continue;
      if (out[at] !== 1)
        throw new ShapeError(
          op,
          shapes,
          `axis ${at - rank} holds ${out[at]} and ${size}; one of them must be 1, or both equal`,
        );
      out[at] = size;
    }
  }
  return out;
}

/** Strides of an operand seen in the broadcast shape: 0 where it repeats. */
export function broadcastStrides(shape: Shape, strides: Shape, target: Shape): number[] {
  const lead = target.length - shape.length;
  return target.map((_, i) => (i < lead || shape[i - lead] === 1 ? 0 : strides[i - lead]!));
}

/** Axes counted from either end → sorted, distinct, non-negative; all axes when `axes` is undefined. Throws {@link ShapeError} out of range. */
export function normalizeAxes(op: string, shape: Shape, axes: number | readonly number[] | undefined): number[] {
  if (axes === undefined) return shape.map((_, i) => i);
  const list = (typeof axes === "number" ? [axes] : axes).map((axis) => normalizeAxis(op, shape, axis));
  if (new Set(list).size !== list.length) throw new ShapeError(op, [shape], `axis given twice in [${list.join(", ")}]`);
  return list.sort((x, y) => x - y);
}

export function normalizeAxis(op: string, shape: Shape, axis: number): number {
  const at = axis < 0 ? axis + shape.length : axis;
  if (!Number.isInteger(at) || at < 0 || at >= shape.length)
    throw new ShapeError(op, [shape], `axis ${axis} is outside ${-shape.length}…${shape.length - 1}`);
  return at;
}

/**
 * Merges neighbouring axes wherever every operand steps over them evenly (stride[i] = stride[i+1] · size[i+1]) and drops axes of size 1,
 * so that kernels decompose an index over as few axes as there are.
 */
export function mergeAxes(shape: Shape, operands: readonly Shape[]): { shape: number[]; strides: number[][] } {
  const sizes: number[] = [];
  const strides: number[][] = operands.map(() => []);
  for (let i = 0; i < shape.length; i++) {
    const size = shape[i]!;
    if (size === 1) continue;
    const last = sizes.length - 1;
    if (last >= 0 && operands.every((s, k) => strides[k]![last] === s[i]! * size)) {
      sizes[last]! *= size;
      for (let k = 0; k < operands.length; k++) strides[k]![last] = operands[k]![i]!;
    } else {
      sizes.push(size);
      for (let k = 0; k < operands.length; k++) strides[k]!.push(operands[k]![i]!);
    }
  }
  return { shape: sizes, strides };
}

/**
 * The strides of `shape` over the same memory, or null when a copy is needed. Follows PyTorch's rule: an old run of axes that steps evenly
 * may be cut or joined freely.
 */
export function reshapeStrides(oldShape: Shape, oldStrides: Shape, shape: Shape): number[] | null {
  if (numel(oldShape) === 0) return contiguousStrides(shape);
  const merged = mergeAxes(oldShape, [oldStrides]);
  const sizes = merged.shape;
  const steps = merged.strides[0]!;
  const out = new Array<number>(shape.length);
  let run = sizes.length - 1;
  let left = run >= 0 ? sizes[run]! : 1;
  let step = run >= 0 ? steps[run]! : 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    const size = shape[i]!;
    if (size === 1) {
      out[i] = step;
      continue;
    }
    if (left === 1 && run > 0) {
      run--;
      left = sizes[run]!;
      step = steps[run]!;
    }
    if (left % size !== 0) return null;
    out[i] = step;
    step *= size;
    left /= size;
  }
  return out;
}
