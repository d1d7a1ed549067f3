/** Resampling of images: nearest upsampling by two, bilinear and bicubic resize, pixel shuffle and unshuffle. */
import {
  type AxisTable,
  linearGrid,
  type ResizeMode,
  resampleAxis,
  resampleAxisWide,
  resizeTable,
  transposeTable,
  upsampleNearest,
  upsampleNearestBackward,
} from "@refl/kernels-wgsl";
import type { Device } from "../device.ts";
import { isFloat } from "../dtype.ts";
import { DTypeError, ShapeError } from "../errors.ts";
import { apply, type ForwardTable } from "../op.ts";
import { keep } from "../scope.ts";
import { numel } from "../shape.ts";
import { constant, Tensor } from "../tensor.ts";
import type { Pair } from "./conv.ts";
import { contiguous } from "./copy.ts";

interface Resize {
  readonly mode: ResizeMode;
  /** Whether shrinking stretches the filter, as Pillow does. */
  readonly antialias: boolean;
}

export interface ResampleAttrs {
  upsampleNearest2x: Record<never, never>;
  /** The sum of each 2 x 2 block. */
  upsampleNearest2xGrad: Record<never, never>;
  /** `size` is the result's height and width. */
  resize: Resize & { readonly size: Pair };
  /** The transposed map: from a gradient of the result to one of the source, whose height and width are `size`. */
  resizeGrad: Resize & { readonly size: Pair };
}

/** A table on a device: spans [result, 2] u32 and weights [result, taps] f32. */
interface DeviceTable {
  readonly table: AxisTable;
  readonly spans: Tensor;
  readonly weights: Tensor;
}

/** Tables kept per device; a model uses a handful, and the oldest makes room. */
const MOST_TABLES = 64;

const tables = new WeakMap<Device, Map<string, DeviceTable>>();

function tableFor(
  device: Device,
  size: number,
  result: number,
  { mode, antialias }: Resize,
  backward: boolean,
): DeviceTable {
  let made = tables.get(device);
  if (!made) tables.set(device, (made = new Map()));
  const key = `${mode},${antialias},${size},${result},${backward}`;
  const found = made.get(key);
  if (found) return found;
  if (made.size >= MOST_TABLES) {
    const [oldest, { spans, weights }] = made.entries().next().value!;
    spans.dispose();
    weights.dispose();
    made.delete(oldest);
  }
  const forward = resizeTable(size, result, mode, antialias);
  const table = backward ? transposeTable(forward) : forward;
  const spans = table.starts.flatMap((start, r) => [start, table.counts[r]!]);
  const entry = {
    table,
    spans: keep(constant(device, spans, [table.result, 2], "u32")),
    weights: keep(constant(device, table.weights, [table.result, table.taps])),
  };
  made.set(key, entry);
  return entry;
}

/** Resamples axis 2 or 3 of a contiguous [B, C, H, W]. */
function resampled(x: Tensor, axis: 2 | 3, { table, spans, weights }: DeviceTable, dtype: "f32" | "f16"): Tensor {
  const shape = x.shape.map((n, i) => (i === axis ? table.result : n));
  const out = Tensor.empty(x.device, shape, dtype);
  const count = numel(shape);
  const inner = axis === 3 ? 1 : x.shape[3]!;
  const wide = inner % 4 === 0 && x.offset % 4 === 0;
  const { size, result, taps } = table;
  x.device.run(
    wide ? resampleAxisWide : resampleAxis,
    { T: x.dtype, O: dtype },
    [x.storage, spans.storage, weights.storage, out.storage],
    wide
      ? { count4: count / 4, size, result, inner4: inner / 4, taps, offset4: x.offset / 4 }
      : { count, size, result, inner, taps, offset: x.offset },
    linearGrid(wide ? count / 4 : count, 64),
  );
  return out;
}

/** Both axes, one after the other: first the one that leaves fewer elements, and where both leave as many, columns where pictures grow. The values between are f32. */
function resizeBoth(x: Tensor, attrs: ResampleAttrs["resize"], backward: boolean): Tensor {
  const dtype = x.dtype as "f32" | "f16";
  if (numel(x.shape) === 0) return Tensor.empty(x.device, [x.shape[0]!, x.shape[1]!, ...attrs.size], dtype);
  const changed = ([2, 3] as const).filter((axis) => x.shape[axis] !== attrs.size[axis - 2]);
  const growth = (axis: 2 | 3): number => attrs.size[axis - 2]! / x.shape[axis]!;
  // Columns are the quicker axis, since rows' neighbours share their weights. Gradients keep rows first: with columns first, 100 steps
  // of ReFL left PyTorch's by 1.3e-3 of the loss, where they differ by 1.4e-5.
  const columnsFirst = (axis: 2 | 3): boolean => !backward && growth(axis) > 1;
  const order = changed.sort((a, b) => growth(a) - growth(b) || (columnsFirst(a) ? b - a : a - b));
  let at = contiguous(x);
  if (order.length === 0) return at === x ? x.view(x.shape, x.strides) : at;
  order.forEach((axis, i) => {
    const [from, to] = [x.shape[axis]!, attrs.size[axis - 2]!];
    const table = backward ? tableFor(x.device, to, from, attrs, true) : tableFor(x.device, from, to, attrs, false);
    at = resampled(at, axis, table, i === order.length - 1 ? dtype : "f32");
  });
  return at;
}

export const resampleForward = {
  upsampleNearest2x: ([x]) => {
    const [batch, channels, height, width] = x!.shape as [number, number, number, number];
    const out = Tensor.empty(x!.device, [batch, channels, 2 * height, 2 * width], x!.dtype);
    const count = numel(x!.shape);
    if (count === 0) return out;
    const small = contiguous(x!);
    const params = { count, width, offset: small.offset };
    x!.device.run(
      upsampleNearest,
      { T: x!.dtype, BACKWARD: false },
      [small.storage, out.storage],
      params,
      linearGrid(count, 256),
    );
    return out;
  },
  upsampleNearest2xGrad: ([gradient]) => {
    const [batch, channels, height, width] = gradient!.shape as [number, number, number, number];
    const out = Tensor.empty(gradient!.device, [batch, channels, height / 2, width / 2], gradient!.dtype);
    const count = numel(out.shape);
    if (count === 0) return out;
    const large = contiguous(gradient!);
    const params = { count, width: width / 2, offset: large.offset };
    gradient!.device.run(
      upsampleNearestBackward,
      { T: gradient!.dtype, BACKWARD: true },
      [large.storage, out.storage],
      params,
      linearGrid(count, 256),
    );
    return out;
  },
  resize: ([x], attrs) => resizeBoth(x!, attrs, false),
  resizeGrad: ([gradient], attrs) => resizeBoth(gradient!, attrs, true),
} satisfies ForwardTable<ResampleAttrs>;

function checkImages(op: string, x: Tensor): void {
  if (x.rank !== 4) throw new ShapeError(op, [x.shape], "x must be [B, C, H, W]");
  if (!isFloat(x.dtype)) throw new DTypeError(op, [x.dtype], "x must be f32 or f16");
}

/** x: [B, C, H, W] → [B, C, 2H, 2W], each pixel repeated, as `torch.nn.functional.interpolate(scale_factor=2, mode="nearest")`. Throws ShapeError and DTypeError. */
export function upsampleNearest2x(x: Tensor): Tensor {
  checkImages("upsampleNearest2x", x);
  return apply("upsampleNearest2x", [x], {});
}

/** Options of {@link resize}. */
export interface ResizeOptions {
  readonly mode: ResizeMode;
  /** Stretches the filter when shrinking, as Pillow does. Default false. */
  readonly antialias?: boolean;
}

/**
 * Bilinear or bicubic resize, as `torch.nn.functional.interpolate(x, size, mode, align_corners=False, antialias)`.
 * x: [B, C, H, W], f32 or f16 → [B, C, size[0], size[1]]. x itself when it has that size. Throws ShapeError and DTypeError.
 */
export function resize(x: Tensor, size: Pair, { mode, antialias = false }: ResizeOptions): Tensor {
  checkImages("resize", x);
  if (size.length !== 2 || size.some((n) => !Number.isInteger(n) || n < 1) || x.shape[2] === 0 || x.shape[3] === 0) {
    throw new ShapeError("resize", [x.shape, size], "sizes before and after must be positive");
  }
  if (x.shape[2] === size[0] && x.shape[3] === size[1]) return x;
  return apply("resize", [x], { mode, antialias, size });
}

/** [B, C·r², H, W] → [B, C, H·r, W·r] with r = `factor`, as `torch.nn.functional.pixel_shuffle`. Throws ShapeError. */
export function pixelShuffle(x: Tensor, factor: number): Tensor {
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  if (x.rank !== 4 || !Number.isInteger(factor) || factor < 1 || channels % (factor * factor)) {
    throw new ShapeError(
      "pixelShuffle",
      [x.shape],
      `x must be [B, C, H, W] with C a multiple of ${factor} * ${factor}`,
    );
  }
  const out = channels / (factor * factor);
  return x
    .reshape(batch, out, factor, factor, height, width)
    .permute(0, 1, 4, 2, 5, 3)
    .reshape(batch, out, height * factor, width * factor);
}

/** [B, C, H, W] → [B, C·r², H/r, W/r] with r = `factor`, as `torch.nn.functional.pixel_unshuffle`. Throws ShapeError. */
export function pixelUnshuffle(x: Tensor, factor: number): Tensor {
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  if (x.rank !== 4 || !Number.isInteger(factor) || factor < 1 || height % factor || width % factor) {
    throw new ShapeError("pixelUnshuffle", [x.shape], `x must be [B, C, H, W] with H and W multiples of ${factor}`);
  }
  const [h, w] = [height / factor, width / factor];
  return x
    .reshape(batch, channels, h, factor, w, factor)
    .permute(0, 1, 3, 5, 2, 4)
    .reshape(batch, channels * factor * factor, h, w);
}
