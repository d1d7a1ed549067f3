/** Resampling kernels: nearest upsampling by two, and one axis by a weight table. */
import { defineKernel } from "../kernel.ts";
import { resample_axis, upsample_nearest } from "../wgsl.gen.ts";

export { type AxisTable, type ResizeMode, resizeTable, transposeTable } from "./table.ts";

const upsample = {
  source: upsample_nearest,
  params: { count: "u32", width: "u32", offset: "u32" },
  workgroup: [64, 1, 1],
} as const;

/** A 2 x 2 block per pixel; a workgroup covers 256 pixels of the small image. */
export const upsampleNearest = defineKernel({
  ...upsample,
  name: "upsample_nearest",
  buffers: [
    ["small", "read"],
    ["large", "read_write"],
  ],
  variants: [{ T: "f32", BACKWARD: false }],
});

/** The sum of each 2 x 2 block. */
export const upsampleNearestBackward = defineKernel({
  ...upsample,
  name: "upsample_nearest_backward",
  buffers: [
    ["large", "read"],
    ["small", "read_write"],
  ],
  variants: [{ T: "f32", BACKWARD: true }],
});

export const resampleAxis = defineKernel({
  name: "resample_axis",
  source: resample_axis,
  buffers: [
    ["a", "read"],
    ["spans", "read"],
    ["weights", "read"],
    ["o", "read_write"],
  ],
  params: { count: "u32", size: "u32", result: "u32", inner: "u32", taps: "u32", offset: "u32" },
  workgroup: [64, 1, 1],
  variants: [{ T: "f32", O: "f32" }],
});
