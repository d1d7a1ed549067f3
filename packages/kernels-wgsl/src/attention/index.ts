/** Attention without the matrix of scores: forward, and backward by queries and by keys; each portable and by subgroup shuffles. */
import { mathFor } from "../elementwise/math.ts";
import { type Access, type Defines, defineKernel, type Kernel, linearGrid, type ParamType } from "../kernel.ts";
import { attention_backward_key, attention_backward_query, attention as attentionSource } from "../wgsl.gen.ts";

export * from "./gemm.ts";

export interface AttentionLayout {
  readonly type: "f32" | "f16";
  /** Head sizes of queries and keys, and of values: multiples of 4. */
  readonly size: number;
  readonly valueSize: number;
  /** Lanes of the subgroup that is a workgroup, or 0 for the portable form. */
  readonly subgroup: number;
  /** Queries (or keys, in the keys' gradient) that a lane owns. */
  readonly rows: number;
  /** Keep also the loops that fetch keys rolled: slower, but heads of 80 compile forty times faster on software adapters. */
  readonly rolled: boolean;
}

/** Threads of the portable form's workgroup. */
const PORTABLE_LANES = 32;

export function attentionDefines({ type, size, valueSize, subgroup, rows, rolled }: AttentionLayout): Defines {
  return {
    T: type,
    D4: size / 4,
    V4: valueSize / 4,
    SUBGROUP: subgroup > 0,
    WG: subgroup || PORTABLE_LANES,
    ROWS: rows,
    KEYS: subgroup ? 4 : 2,
    ROLLED: rolled,
    FETCHED: subgroup ? 1 : 2,
    MATH: mathFor("log_(x)"),
  };
}

/** The parameters that bound loops over a lane's rows and their vec4s. */
export function attentionLoops({ rows, size, valueSize }: AttentionLayout): {
  rows: number;
  chunks: number;
  valueChunks: number;
} {
  return { rows, chunks: size / 4, valueChunks: valueSize / 4 };
}

/** Workgroups for `tokens` queries (or keys) of each of `pairs` heads of items. */
export function attentionGrid(tokens: number, pairs: number, subgroup: number, rows: number): [number, number, number] {
  const [y, z] = linearGrid(pairs, 1);
  return [Math.ceil(tokens / ((subgroup || PORTABLE_LANES) * rows)), y, z];
}

const base: AttentionLayout = {
  type: "f32",
  size: 8,
  valueSize: 8,
  subgroup: 0,
  rows: 1,
  rolled: false,
};
const variants = (subgroup: number): Defines[] => [
  attentionDefines({ ...base, subgroup, rows: 2 }),
  attentionDefines({ ...base, subgroup, valueSize: 4 }),
  attentionDefines({ ...base, subgroup, rolled: true }),
];

function pair(
  name: string,
  source: string,
  buffers: readonly (readonly [string, Access])[],
  params: Readonly<Record<string, ParamType>>,
): readonly [portable: Kernel, subgroup: Kernel] {
  return [
    defineKernel({ name, source, buffers, params, workgroup: ["WG", 1, 1], variants: variants(0) }),
    defineKernel({
      name: `${name}_subgroup`,
      source,
      enables: ["subgroups"],
      buffers,
      params,
      workgroup: ["WG", 1, 1],
      variants: variants(8),
    }),
  ];
}

const common = {
  atQ: "vec4u",
  atK: "vec4u",
  atV: "vec4u",
  pairs: "u32",
  heads: "u32",
  queries: "u32",
  keys: "u32",
  atMask: "u32",
  masked: "u32",
  causal: "u32",
  scale: "f32",
  rows: "u32",
  chunks: "u32",
  valueChunks: "u32",
} as const;

export const [attention, attentionSubgroup] = pair(
  "attention",
  attentionSource,
  [
    ["q", "read"],
    ["k", "read"],
    ["v", "read"],
    ["mask", "read"],
    ["o", "read_write"],
    ["lse", "read_write"],
  ],
  common,
);

export const [attentionBackwardQuery, attentionBackwardQuerySubgroup] = pair(
  "attention_backward_query",
  attention_backward_query,
  [
    ["g", "read"],
    ["q", "read"],
    ["k", "read"],
    ["v", "read"],
    ["o", "read"],
    ["mask", "read"],
    ["dq", "read_write"],
    ["stats", "read_write"],
  ],
  { ...common, atG: "vec4u", atO: "vec4u" },
);

export const [attentionBackwardKey, attentionBackwardKeySubgroup] = pair(
  "attention_backward_key",
  attention_backward_key,
  [
    ["g", "read"],
    ["q", "read"],
    ["k", "read"],
    ["v", "read"],
    ["stats", "read"],
    ["mask", "read"],
    ["dk", "read_write"],
    ["dv", "read_write"],
  ],
  { ...common, atG: "vec4u" },
);
