/** Reduction kernels: folds over any axes in one or two deterministic passes, and argmax over rows. */

import type { StorageType } from "../elementwise/index.ts";
import { type Defines, defineKernel } from "../kernel.ts";
import { argmax as argmaxSource, reduce as reduceSource } from "../wgsl.gen.ts";

export type FoldName = "sum" | "max" | "min";

const FOLDS: Record<FoldName, string> = { sum: "acc + x", max: "max(acc, x)", min: "min(acc, x)" };

/** The neutral element, as WGSL writes it; the largest finite float stands for infinity, which WGSL has no literal for. */
const NEUTRAL: Record<FoldName, Record<"f32" | "i32" | "u32", string>> = {
  sum: { f32: "0.0", i32: "0", u32: "0u" },
  max: { f32: "-3.4028234e38", i32: "-2147483647", u32: "0u" },
  min: { f32: "3.4028234e38", i32: "2147483647", u32: "4294967295u" },
};

/** Defines of a fold of `input` elements into `output` elements. `deviation` folds squared distances from a mean. */
export function reduceDefines(fold: FoldName, input: StorageType, output: StorageType, deviation = false): Defines {
  const compute = input === "f16" ? "f32" : input;
  return {
    FOLD: FOLDS[fold],
    INIT: NEUTRAL[fold][compute],
    A: input,
    O: output,
    X: compute,
    DEVIATION: deviation,
  };
}

export const reduce = defineKernel({
  name: "reduce",
  source: reduceSource,
  buffers: [
    ["a", "read"],
    ["m?DEVIATION", "read"],
    ["o", "read_write"],
  ],
  params: {
    keptShape: "vec4u",
    keptStrides: "vec4u",
    foldShape: "vec4u",
    foldStrides: "vec4u",
    offset: "u32",
    outputs: "u32",
    count: "u32",
    chunks: "u32",
    chunk: "u32",
    scale: "f32",
  },
  workgroup: [64, 1, 1],
  variants: [
    reduceDefines("sum", "f32", "f32"),
    reduceDefines("max", "f32", "f32"),
    reduceDefines("sum", "f32", "f32", true),
  ],
});

/**
 * How many chunks each output's fold is cut into: enough threads to fill a device (about 8,192), chunks of at least 64 elements,
 * and at most 1,024 elements to a chunk so that rounding errors grow with the chunk and not with the whole.
 */
export function reduceChunks(outputs: number, count: number): number {
  const forThreads = Math.min(Math.ceil(8192 / Math.max(outputs, 1)), Math.ceil(count / 64));
  const forAccuracy = Math.ceil(count / 1024);
  return Math.max(1, forThreads, forAccuracy);
}

export const argmax = defineKernel({
  name: "argmax",
  source: argmaxSource,
  buffers: [
    ["a", "read"],
    ["o", "read_write"],
  ],
  params: { offset: "u32", rows: "u32", columns: "u32" },
  workgroup: [64, 1, 1],
  variants: [{ A: "f32" }],
});
