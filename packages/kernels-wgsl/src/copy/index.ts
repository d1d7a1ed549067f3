/** Copy kernels: strided to strided, flat to flat, and fill. */
import { defineKernel } from "../kernel.ts";
import { runDefines } from "../runs.ts";
import { copy_flat, copy_strided, copy_wide, fill_wide, fill as fillSource } from "../wgsl.gen.ts";

const buffers = [
  ["a", "read"],
  ["o", "read_write"],
] as const;

const variants = [
  { A: "f32", O: "f32" },
  { A: "f32", O: "f32", ACCUMULATE: true },
  { A: "f32", O: "u32", TO_BOOL: true },
];

export const copyStrided = defineKernel({
  name: "copy_strided",
  source: copy_strided,
  buffers,
  params: {
    shape0: "vec4u",
    shape1: "vec4u",
    stridesA0: "vec4u",
    stridesA1: "vec4u",
    stridesO0: "vec4u",
    stridesO1: "vec4u",
    offsetA: "u32",
    offsetO: "u32",
    innerA: "u32",
    innerO: "u32",
    runs: "u32",
    rank: "u32",
    per: "u32",
  },
  workgroup: [64, 1, 1],
  variants: variants.flatMap((v) => [
    { ...v, ...runDefines([4]) },
    { ...v, ...runDefines([2, 2, 2, 2, 3]) },
  ]),
});

export const copyFlat = defineKernel({
  name: "copy_flat",
  source: copy_flat,
  buffers,
  params: { offsetA: "u32", offsetO: "u32", count: "u32" },
  workgroup: [64, 1, 1],
  variants,
});

/** Elements of a workgroup of {@link copyWide}. */
export const COPY_WIDE_GROUP = 1024;

/** {@link copyFlat} with offsets and count in vec4s, but never to bool. */
export const copyWide = defineKernel({
  name: "copy_wide",
  source: copy_wide,
  buffers,
  params: copyFlat.params,
  workgroup: [64, 1, 1],
  variants: variants.slice(0, 2),
});

export const fill = defineKernel({
  name: "fill",
  source: fillSource,
  buffers: [["o", "read_write"]],
  params: { offset: "u32", count: "u32", value: "f32", bits: "u32" },
  workgroup: [64, 1, 1],
  variants: [
    { O: "f32", FLOAT: true },
    { O: "i32", FLOAT: false },
  ],
});

/** Elements of a workgroup of {@link fillWide}. */
export const FILL_WIDE_GROUP = 2048;

/** {@link fill} with offset and count in vec4s. */
export const fillWide = defineKernel({
  name: "fill_wide",
  source: fill_wide,
  buffers: fill.buffers,
  params: fill.params,
  workgroup: [64, 1, 1],
  variants: fill.variants,
});
