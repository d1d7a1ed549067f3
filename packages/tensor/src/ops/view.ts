/** Views: new shapes over the same memory where strides allow, a copy where they do not (reshape only). */
import { ShapeError } from "../errors.ts";
import { apply, type ForwardTable } from "../op.ts";
import { broadcastStrides, normalizeAxis, numel, reshapeStrides, type Shape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { contiguous } from "./copy.ts";

export interface ViewAttrs {
  reshape: { readonly shape: Shape };
  permute: { readonly axes: Shape };
  expand: { readonly shape: Shape };
  /** Element i of an axis is `starts + i · steps`; `shape` is the result's. */
  slice: { readonly starts: Shape; readonly steps: Shape; readonly shape: Shape };
}

export const viewForward = {
  reshape: ([x], { shape }) => {
    const strides = reshapeStrides(x!.shape, x!.strides, shape);
    return strides ? x!.view(shape, strides, x!.offset) : contiguous(x!).view(shape);
  },
  permute: ([x], { axes }) =>
    x!.view(
      axes.map((a) => x!.shape[a]!),
      axes.map((a) => x!.strides[a]!),
      x!.offset,
    ),
  expand: ([x], { shape }) => x!.view(shape, broadcastStrides(x!.shape, x!.strides, shape), x!.offset),
  slice: ([x], { starts, steps, shape }) => {
    const offset = starts.reduce((sum, start, i) => sum + start * x!.strides[i]!, x!.offset);
    return x!.view(
      shape,
      x!.strides.map((s, i) => s * steps[i]!),
      offset,
    );
  },
} satisfies ForwardTable<ViewAttrs>;

/** x with another shape of as many elements; one size may be −1. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const open = shape.indexOf(-1);
  const sizes = [...shape];
  if (open >= 0) {
    const rest = numel(shape.filter((_, i) => i !== open));
    sizes[open] = rest === 0 ? 0 : numel(x.shape) / rest;
  }
  if (numel(sizes) !== numel(x.shape) || sizes.some((n) => !Number.isInteger(n) || n < 0)) {
    throw new ShapeError("reshape", [x.shape, shape], `${numel(x.shape)} elements must stay ${numel(x.shape)}`);
  }
  return apply("reshape", [x], { shape: sizes });
}

/** Axes in a new order, as `torch.permute`. */
export function permute(x: Tensor, axes: readonly number[]): Tensor {
  const order = axes.map((a) => normalizeAxis("permute", x.shape, a));
  if (new Set(order).size !== x.shape.length || order.length !== x.shape.length)
    throw new ShapeError("permute", [x.shape, axes], "needs every axis once");
  return apply("permute", [x], { axes: order });
}

/** Repeats axes of size 1 without copying; −1 keeps a size. */
export function expand(x: Tensor, shape: Shape): Tensor {
  const lead = shape.length - x.shape.length;
  const sizes = shape.map((size, i) => (size === -1 && i >= lead ? x.shape[i - lead]! : size));
  if (lead < 0 || x.shape.some((size, i) => size !== 1 && size !== sizes[lead + i])) {
    throw new ShapeError("expand", [x.shape, shape], "only axes of size 1 and new leading axes can grow");
  }
  return apply("expand", [x], { shape: sizes });
}

/** One part of an axis: `[start, end)` with a positive step; negative positions count from the end. */
export function slice(x: Tensor, axis: number, start: number, end = Number.POSITIVE_INFINITY, step = 1): Tensor {
  const at = normalizeAxis("slice", x.shape, axis);
  const size = x.shape[at]!;
  const clip = (position: number): number => Math.max(0, Math.min(size, position < 0 ? position + size : position));
  if (!Number.isInteger(step) || step < 1)
    throw new ShapeError("slice", [x.shape], `step ${step} must be a positive integer`);
  const from = clip(start);
  const length = Math.max(0, Math.ceil((clip(end) - from) / step));
  return apply("slice", [x], {
    starts: x.shape.map((_, i) => (i === at ? from : 0)),
    steps: x.shape.map((_, i) => (i === at ? step : 1)),
    shape: x.shape.map((n, i) => (i === at ? length : n)),
  });
}

/** Cuts an axis into consecutive parts of the given sizes. */
export function split(x: Tensor, sizes: readonly number[], axis: number): Tensor[] {
  const at = normalizeAxis("split", x.shape, axis);
  const total = sizes.reduce((a, b) => a + b, 0);
  if (total !== x.shape[at])
    throw new ShapeError("split", [x.shape], `parts [${sizes.join(", ")}] must add up to ${x.shape[at]}`);
  let start = 0;
  return sizes.map((size) => {
    const part = slice(x, at, start, start + size);
    start += size;
    return part;
  });
}
