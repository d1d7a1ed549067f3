/** Attention as matrix products by subgroup broadcast: forward with two, backward with five and a window of the scores' gradients. */
import { mathFor } from "../elementwise/math.ts";
import { type Defines, defineKernel, internDefines, linearGrid } from "../kernel.ts";
import { attention_delta, attention_gemm, attention_gemm_key, attention_gemm_query } from "../wgsl.gen.ts";

/** Threads of the workgroup that computes deltas. */
const DELTA_LANES = 32;

export interface AttentionGemmLayout {
  readonly type: "f32" | "f16";
  /** Type of the queries' gradient: f32 where several windows add to it. */
  readonly result: "f32" | "f16";
  /** Head sizes of queries and keys, and of values: multiples of 4. */
  readonly size: number;
  readonly valueSize: number;
  /** Lanes of the subgroup that is a workgroup. */
  readonly subgroup: number;
  /** Queries (or keys, in the keys' gradient) of a workgroup. */
  readonly rows: 16 | 32;
}

const interned = internDefines();

export function attentionGemmDefines(layout: AttentionGemmLayout): Defines {
  const { type, result, size, valueSize, subgroup, rows } = layout;
  const perLane = (columns: number): number => Math.ceil(columns / 4 / subgroup);
  const [d, v] = [perLane(size), perLane(valueSize)];
  return interned(`${type} ${result} ${d} ${v} ${subgroup} ${rows}`, () => ({
    T: type,
    O: result,
    SG: subgroup,
    ROWS: rows,
    ROWS4: rows / 4,
    QUADS: Math.ceil(rows / subgroup),
    D_LANE: d,
    V_LANE: v,
    MATH: mathFor("log_(x)"),
  }));
}

/** Workgroups for `tokens` queries (or keys) of each of `pairs` heads of items. */
export function attentionGemmGrid(tokens: number, pairs: number, rows: number): [number, number, number] {
  const [y, z] = linearGrid(pairs, 1);
  return [Math.ceil(tokens / rows), y, z];
}

export const attentionDeltaGrid = (queries: number): [number, number, number] => linearGrid(queries, DELTA_LANES);

const base: AttentionGemmLayout = {
  type: "f32",
  result: "f32",
  size: 64,
  valueSize: 64,
  subgroup: 8,
  rows: 32,
};
const variants: readonly Defines[] = [
  attentionGemmDefines(base),
  attentionGemmDefines({ ...base, subgroup: 4, rows: 16, size: 16, valueSize: 32 }),
];

const operands = {
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
  chunks: "u32",
  valueChunks: "u32",
} as const;

const window = {
  width: "u32",
  window: "u32",
  firstPair: "u32",
  windowPairs: "u32",
  firstKey: "u32",
  windowKeys: "u32",
} as const;

export const attentionGemm = defineKernel({
  name: "attention_gemm",
  source: attention_gemm,
  enables: ["subgroups"],
  buffers: [
    ["q", "read"],
    ["k", "read"],
    ["v", "read"],
    ["mask", "read"],
    ["o", "read_write"],
    ["lse", "read_write"],
  ],
  params: operands,
  workgroup: ["SG", 1, 1],
  variants,
});

export const attentionDelta = defineKernel({
  name: "attention_delta",
  source: attention_delta,
  buffers: [
    ["g", "read"],
    ["o", "read"],
    ["lse", "read"],
    ["scratch", "read_write"],
  ],
  params: {
    atG: "vec4u",
    atO: "vec4u",
    pairs: "u32",
    heads: "u32",
    queries: "u32",
    width: "u32",
    valueChunks: "u32",
    offset: "u32",
  },
  workgroup: [DELTA_LANES, 1, 1],
  variants: [{ T: "f32" }],
});

export const attentionGemmKey = defineKernel({
  name: "attention_gemm_key",
  source: attention_gemm_key,
  enables: ["subgroups"],
  buffers: [
    ["g", "read"],
    ["q", "read"],
    ["k", "read"],
    ["v", "read"],
    ["mask", "read"],
    ["scratch", "read_write"],
    ["dk", "read_write"],
    ["dv", "read_write"],
  ],
  params: { ...operands, atG: "vec4u", ...window },
  workgroup: ["SG", 1, 1],
  variants,
});

export const attentionGemmQuery = defineKernel({
  name: "attention_gemm_query",
  source: attention_gemm_query,
  enables: ["subgroups"],
  buffers: [
    ["k", "read"],
    ["scratch", "read"],
    ["dq", "read_write"],
  ],
  params: {
    atK: "vec4u",
    heads: "u32",
    queries: "u32",
    keys: "u32",
    causal: "u32",
    chunks: "u32",
    ...window,
    more: "u32",
  },
  workgroup: ["SG", 1, 1],
  variants,
});
