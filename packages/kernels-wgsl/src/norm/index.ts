/** Layer norm and group norm with their gradients, over rows. */
import { type Defines, defineKernel } from "../kernel.ts";
import { type RowLayout, rowDefines, rowKernels } from "../reduce/rows.ts";
import {
  group_norm,
  group_norm_backward,
  group_norm_sums,
  layer_norm,
  layer_norm_backward,
  layer_norm_parameters,
} from "../wgsl.gen.ts";

/** What a norm kernel binds: learnt scale and shift. */
export interface NormFlags {
  readonly weight: boolean;
  readonly bias: boolean;
}

export function normDefines(layout: RowLayout, { weight, bias }: NormFlags): Defines {
  return { ...rowDefines(layout), WEIGHT: weight, BIAS: bias };
}

const plain = { weight: false, bias: false } as const;
const affine = { weight: true, bias: true } as const;
const both = (layout: RowLayout) => [normDefines(layout, plain), normDefines(layout, affine)];

export const [layerNormRows, layerNormRowsSubgroup] = rowKernels("layer_norm", layer_norm, {
  buffers: [
    ["a", "read"],
    ["w?WEIGHT", "read"],
    ["b?BIAS", "read"],
    ["o", "read_write"],
    ["stats", "read_write"],
  ],
  params: { offset: "u32", offsetW: "u32", offsetB: "u32", rows: "u32", columns: "u32", eps: "f32" },
  variants: both,
});

export const [layerNormBackwardRows, layerNormBackwardRowsSubgroup] = rowKernels(
  "layer_norm_backward",
  layer_norm_backward,
  {
    buffers: [
      ["g", "read"],
      ["a", "read"],
      ["stats", "read"],
      ["w?WEIGHT", "read"],
      ["o", "read_write"],
    ],
    params: { offset: "u32", offsetG: "u32", offsetW: "u32", rows: "u32", columns: "u32" },
    variants: (layout) => [normDefines(layout, plain), normDefines(layout, { weight: true, bias: false })],
  },
);

/** Not a row kernel, but of the same types: a thread takes a column over `chunk` rows. */
export const layerNormParameters = defineKernel({
  name: "layer_norm_parameters",
  source: layer_norm_parameters,
  buffers: [
    ["g", "read"],
    ["a", "read"],
    ["stats", "read"],
    ["partial", "read_write"],
  ],
  params: { offset: "u32", offsetG: "u32", rows: "u32", columns: "u32", chunks: "u32", chunk: "u32" },
  workgroup: [64, 1, 1],
  variants: [
    rowDefines({ type: "f32", lanes: "thread", size: 64, vec4: false }),
    rowDefines({ type: "f32", lanes: "thread", size: 64, vec4: true }),
  ],
});

export const [groupNormRows, groupNormRowsSubgroup] = rowKernels("group_norm", group_norm, {
  buffers: [
    ["a", "read"],
    ["w?WEIGHT", "read"],
    ["b?BIAS", "read"],
    ["o", "read_write"],
    ["stats", "read_write"],
  ],
  params: {
    offset: "u32",
    offsetW: "u32",
    offsetB: "u32",
    rows: "u32",
    groups: "u32",
    channels: "u32",
    spatial: "u32",
    eps: "f32",
    silu: "u32",
  },
  variants: both,
});

const slopes = {
  offset: "u32",
  offsetG: "u32",
  offsetW: "u32",
  offsetB: "u32",
  rows: "u32",
  groups: "u32",
  channels: "u32",
  spatial: "u32",
  silu: "u32",
} as const;

export const [groupNormSumsRows, groupNormSumsRowsSubgroup] = rowKernels("group_norm_sums", group_norm_sums, {
  buffers: [
    ["g", "read"],
    ["a", "read"],
    ["stats", "read"],
    ["w?WEIGHT", "read"],
    ["b?BIAS", "read"],
    ["sums", "read_write"],
  ],
  params: slopes,
  variants: both,
});

export const [groupNormBackwardRows, groupNormBackwardRowsSubgroup] = rowKernels(
  "group_norm_backward",
  group_norm_backward,
  {
    buffers: [
      ["g", "read"],
      ["a", "read"],
      ["stats", "read"],
      ["sums", "read"],
      ["w?WEIGHT", "read"],
      ["b?BIAS", "read"],
      ["o", "read_write"],
    ],
    params: slopes,
    variants: both,
  },
);
