/** Softmax, log-softmax and cross-entropy with their gradients, over rows. */
import type { Defines } from "../kernel.ts";
import { type RowLayout, rowDefines, rowKernels } from "../reduce/rows.ts";
import {
  cross_entropy,
  cross_entropy_backward,
  cross_entropy_fold,
  softmax_backward,
  softmax as softmaxSource,
} from "../wgsl.gen.ts";

export function softmaxDefines(layout: RowLayout, log: boolean): Defines {
  return { ...rowDefines(layout, log ? "log_(x)" : ""), LOG: log };
}

export const [softmaxRows, softmaxRowsSubgroup] = rowKernels("softmax", softmaxSource, {
  buffers: [
    ["a", "read"],
    ["o", "read_write"],
  ],
  params: { offset: "u32", rows: "u32", columns: "u32", inner: "u32" },
  variants: (layout) => [softmaxDefines(layout, false), softmaxDefines(layout, true)],
});

export const [softmaxBackwardRows, softmaxBackwardRowsSubgroup] = rowKernels("softmax_backward", softmax_backward, {
  buffers: [
    ["g", "read"],
    ["y", "read"],
    ["o", "read_write"],
  ],
  params: { offsetG: "u32", offsetY: "u32", rows: "u32", columns: "u32", inner: "u32" },
  variants: (layout) => [softmaxDefines(layout, false), softmaxDefines(layout, true)],
});

export type Reduction = "mean" | "sum" | "none";

export function crossEntropyDefines(layout: RowLayout, reduction: Reduction): Defines {
  return { ...rowDefines(layout, "log_(x)"), MEAN: reduction === "mean", EACH: reduction === "none" };
}

export const [crossEntropyRows, crossEntropyRowsSubgroup] = rowKernels("cross_entropy", cross_entropy, {
  buffers: [
    ["a", "read"],
    ["classes", "read"],
    ["losses", "read_write"],
    ["stats", "read_write"],
  ],
  params: {
    offset: "u32",
    offsetClasses: "u32",
    rows: "u32",
    columns: "u32",
    ignored: "i32",
    smoothing: "f32",
    nan: "f32",
  },
  variants: (layout) => [crossEntropyDefines(layout, "none")],
});

export const [crossEntropyFold, crossEntropyFoldSubgroup] = rowKernels("cross_entropy_fold", cross_entropy_fold, {
  buffers: [
    ["losses", "read"],
    ["classes?MEAN", "read"],
    ["o", "read_write"],
    ["counted?MEAN", "read_write"],
  ],
  params: { offsetClasses: "u32", count: "u32", ignored: "i32" },
  variants: (layout) => (layout.vec4 ? [] : [crossEntropyDefines(layout, "mean"), crossEntropyDefines(layout, "sum")]),
});

export const [crossEntropyBackwardRows, crossEntropyBackwardRowsSubgroup] = rowKernels(
  "cross_entropy_backward",
  cross_entropy_backward,
  {
    buffers: [
      ["g", "read"],
      ["a", "read"],
      ["classes", "read"],
      ["stats", "read"],
      ["counted?MEAN", "read"],
      ["o", "read_write"],
    ],
    params: {
      offset: "u32",
      offsetG: "u32",
      offsetClasses: "u32",
      rows: "u32",
      columns: "u32",
      ignored: "i32",
      smoothing: "f32",
    },
    variants: (layout) => [crossEntropyDefines(layout, "mean"), crossEntropyDefines(layout, "none")],
  },
);
