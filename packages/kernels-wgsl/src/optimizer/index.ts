/** Optimiser kernels over packed parameter groups: Adam and AdamW, global norm with clipping, moving average. */
import { defineKernel } from "../kernel.ts";
import { optimizer_adam, optimizer_clip, optimizer_ema, optimizer_square_sum } from "../wgsl.gen.ts";

export const adamKernel = defineKernel({
  name: "optimizer_adam",
  source: optimizer_adam,
  buffers: [
    ["w", "read_write"],
    ["g", "read"],
    ["m", "read_write"],
    ["v", "read_write"],
    ["hyper", "read"],
    ["control", "read"],
  ],
  params: { count4: "u32" },
  workgroup: [64, 1, 1],
  variants: [{ DECOUPLED: true }, { DECOUPLED: false }],
});

export const squareSum = defineKernel({
  name: "optimizer_square_sum",
  source: optimizer_square_sum,
  buffers: [
    ["g", "read"],
    ["partial", "read_write"],
  ],
  params: { count4: "u32", threads: "u32", first: "u32" },
  workgroup: [64, 1, 1],
  variants: [{}],
});

/** Threads, and so partial sums, that one slab's norm is cut into. */
export const squareSumThreads = (count4: number): number => Math.min(2048, Math.max(1, Math.ceil(count4 / 16)));

export const clipCoefficient = defineKernel({
  name: "optimizer_clip",
  source: optimizer_clip,
  buffers: [
    ["partial", "read"],
    ["control", "read_write"],
    ["scaler?SCALED", "read_write"],
  ],
  params: { count: "u32", limit: "f32" },
  workgroup: [1, 1, 1],
  variants: [{}, { SCALED: true }],
});

export const emaKernel = defineKernel({
  name: "optimizer_ema",
  source: optimizer_ema,
  buffers: [
    ["e", "read_write"],
    ["w", "read"],
    ["decay", "read"],
    ["control?CONTROLLED", "read"],
  ],
  params: { count4: "u32" },
  workgroup: [64, 1, 1],
  variants: [{}, { CONTROLLED: true }],
});
