/** Resampling kernels: nearest upsampling by two, and one axis by a weight table. */
import { defineKernel } from "../kernel.ts";
import { resample_axis, resample_axis_wide, upsample_nearest } from "../wgsl.gen.ts";

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

const resample = {
  buffers: [
    ["a", "read"],
    ["spans", "read"],
    ["weights", "read"],
    ["o", "read_write"],
  ],
  workgroup: [64, 1, 1],
  variants: [{ T: "f32", O: "f32" }],
} as const;

export const resampleAxis = defineKernel({
  ...resample,
  name: "resample_axis",
  source: resample_axis,
  params: { count: "u32", size: "u32", result: "u32", inner: "u32", taps: "u32", offset: "u32" },
});

/** The same for an inner size and an offset that vec4s can cut. */
export const resampleAxisWide = defineKernel({
  ...resample,
  name: "resample_axis_wide",
  source: resample_axis_wide,
  params: { count4: "u32", size: "u32", result: "u32", inner4: "u32", taps: "u32", offset4: "u32" },
});
