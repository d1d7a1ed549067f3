/** Random tensors: pure functions of a Philox stream and a position, equal to `PhiloxStream`'s own numbers. */
import { type Draw, linearGrid, randomDefines, randomFill, randomRank } from "@refl/kernels-wgsl";
import type { Device } from "../device.ts";
import { type DType, STORAGE } from "../dtype.ts";
import { ShapeError } from "../errors.ts";
import { PhiloxStream } from "../philox.ts";
import { scope } from "../scope.ts";
import { numel, type Shape } from "../shape.ts";
import { Tensor, tensor } from "../tensor.ts";

/**
 * Where numbers come from: one stream for the whole tensor, one per row (first axis), or their words as u32 data [rows, 4] =
 * (seed low, seed high, stream, first block of four) for plans that are replayed with other seeds.
 */
export type RandomSource = PhiloxStream | readonly PhiloxStream[] | Tensor;

interface Fill {
  readonly draw: Draw;
  readonly dtype: DType;
  readonly bound?: number;
  readonly low?: number;
  readonly shift?: number;
  readonly scale?: number;
}

function states(
  device: Device,
  source: RandomSource,
  firstBlock: number,
): { state: Tensor; rows: number; own: boolean } {
  if (source instanceof Tensor) return { state: source, rows: source.shape[0]!, own: false };
  const streams = source instanceof PhiloxStream ? [source] : source;
  const words = Uint32Array.from(streams.flatMap((s) => [...s.words, firstBlock]));
  return { state: tensor(device, words, [streams.length, 4], "u32"), rows: streams.length, own: true };
}

function fill(op: string, device: Device, shape: Shape, source: RandomSource, offset: number, options: Fill): Tensor {
  const count = numel(shape);
  if (offset % 4) throw new ShapeError(op, [shape], `offset ${offset} must be a multiple of 4, a whole Philox block`);
  const { state, rows, own } = states(device, source, offset / 4);
  if (rows > 1 && shape[0] !== rows)
    throw new ShapeError(op, [shape, [rows]], "with a stream per row the first axis must have as many rows");
  const out = Tensor.empty(device, shape, options.dtype);
  if (count) {
    const columns = count / rows;
    const params = {
      rows,
      columns,
      bound: options.bound ?? 0,
      low: options.low ?? 0,
      shift: options.shift ?? 0,
      scale: options.scale ?? 1,
    };
    device.run(
      randomFill,
      randomDefines(options.draw, STORAGE[options.dtype]),
      [state.storage, out.storage],
      params,
      linearGrid(rows * Math.ceil(columns / 4), 64),
    );
  }
  if (own) state.dispose();
  return out;
}

/** Uniform numbers in [low, high), f32, from element `offset` (a multiple of 4) of the stream on. */
export function rand(
  device: Device,
  shape: Shape,
  source: RandomSource,
  { low = 0, high = 1, offset = 0 } = {},
): Tensor {
  return fill("rand", device, shape, source, offset, { draw: "uniform", dtype: "f32", shift: low, scale: high - low });
}

/** Normal numbers with the given mean and deviation, f32. */
export function randn(
  device: Device,
  shape: Shape,
  source: RandomSource,
  { mean = 0, std = 1, offset = 0 } = {},
): Tensor {
  return fill("randn", device, shape, source, offset, { draw: "normal", dtype: "f32", shift: mean, scale: std });
}

/** Integers in [low, high), i32. The bias is below (high − low) / 2^32. */
export function randint(
  device: Device,
  low: number,
  high: number,
  shape: Shape,
  source: RandomSource,
  { offset = 0 } = {},
): Tensor {
  if (!(high > low)) throw new ShapeError("randint", [shape], `needs low < high, got ${low} and ${high}`);
  return fill("randint", device, shape, source, offset, { draw: "integer", dtype: "i32", bound: high - low, low });
}

/** A random permutation of 0…n−1, i32 [n]: the order of the stream's first n words. */
export function randperm(device: Device, n: number, source: PhiloxStream | Tensor): Tensor {
  const words = fill("randperm", device, [n], source, 0, { draw: "words", dtype: "u32" });
  const out = Tensor.empty(device, [n], "i32");
  if (n) device.run(randomRank, {}, [words.storage, out.storage], { count: n }, linearGrid(n, 64));
  words.dispose();
  return out;
}

/**
 * Dropout by inverted scaling: each element is 0 with probability `p`, else x / (1 − p). The mask is a function of the source alone,
 * so recomputation in a checkpoint sees the same one.
 */
export function dropout(x: Tensor, p: number, source: RandomSource): Tensor {
  if (!(p >= 0 && p < 1)) throw new ShapeError("dropout", [x.shape], `the probability ${p} must lie in [0, 1)`);
  if (p === 0) return x;
  return scope(() => {
    const kept = rand(x.device, x.shape, source).ge(p).to(x.dtype);
    return x.mul(kept.mul(1 / (1 - p)));
  });
}
