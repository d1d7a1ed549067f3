/** Test cases of the attention ops. */
import type { OpCase, OperandSpec } from "../testing/cases.ts";

type Layout = NonNullable<OperandSpec["layout"]>;

/** q [B, H, queries, size], k and v [B, H, keys, size]; `valueSize` where it differs. */
function qkv(
  batch: number,
  heads: number,
  queries: number,
  keys: number,
  size: number,
  valueSize = size,
  layout: Layout = "dense",
): OperandSpec[] {
  return [
    { shape: [batch, heads, queries, size], layout },
    { shape: [batch, heads, keys, size], layout },
    { shape: [batch, heads, keys, valueSize], layout },
  ];
}

const op = "scaledDotProductAttention";
const plain = { causal: false, scale: 0.5 };
const causal = { causal: true, scale: 0.5 };
const mask = (batch: number, keys: number, dtype: "bool" | "i32" = "bool"): OperandSpec => ({
  shape: [batch, keys],
  values: "bool",
  dtype,
});

export const attentionCases: readonly OpCase[] = [
  { op, inputs: qkv(1, 2, 4, 4, 4), attrs: plain, smoke: true },
  { op, inputs: qkv(2, 2, 5, 7, 8), attrs: plain },
  { op, inputs: qkv(1, 1, 17, 16, 16), attrs: plain },
  { op, inputs: qkv(1, 1, 65, 9, 4), attrs: plain },
  { op, inputs: qkv(1, 2, 3, 1, 24), attrs: plain },
  { op, inputs: qkv(1, 1, 1, 6, 40), attrs: { ...plain, scale: 0.16 } },
  { op, inputs: qkv(2, 1, 3, 5, 6), attrs: plain },
  { op, inputs: qkv(1, 2, 3, 5, 5, 3), attrs: plain },
  { op, inputs: qkv(1, 1, 6, 5, 4, 8), attrs: plain },
  { op, inputs: qkv(1, 1, 2, 3, 80), attrs: { ...plain, scale: 0.11 } },
  { op, inputs: qkv(1, 1, 2, 2, 160), attrs: { ...plain, scale: 0.08 } },
  { op, inputs: qkv(1, 2, 9, 9, 4), attrs: causal, smoke: true },
  { op, inputs: qkv(1, 1, 20, 12, 4), attrs: causal },
  { op, inputs: qkv(1, 1, 5, 20, 4), attrs: causal },
  { op, inputs: qkv(1, 1, 40, 40, 4), attrs: causal },
  { op, inputs: [...qkv(2, 2, 5, 9, 4), mask(2, 9)], attrs: plain, smoke: true },
  { op, inputs: [...qkv(3, 1, 4, 2, 4), mask(3, 2, "i32")], attrs: plain },
  { op, inputs: [...qkv(2, 1, 7, 7, 8), mask(2, 7)], attrs: causal },
  { op, inputs: qkv(1, 2, 4, 8, 8, 8, "transposed"), attrs: plain },
  { op, inputs: qkv(2, 1, 5, 6, 8, 8, "sliced"), attrs: plain },
  { op, inputs: qkv(0, 2, 4, 4, 4), attrs: plain },
  { op, inputs: qkv(1, 2, 3, 0, 4), attrs: plain },
  {
    op,
    inputs: qkv(1, 1, 6, 6, 16).map((spec) => ({ ...spec, values: { mean: 0, deviation: 6 }, differentiable: false })),
    attrs: { ...plain, scale: 0.25 },
    // Scores of several hundreds: their f32 rounding alone is 3e-5.
    tolerance: 1e-4,
  },
  {
    op: "scaledDotProductAttentionBackward",
    inputs: [
      { shape: [1, 2, 5, 8] },
      ...qkv(1, 2, 5, 6, 8),
      { shape: [1, 2, 5, 8] },
      { shape: [1, 2, 5], values: { mean: 2, deviation: 0.5 } },
    ],
    attrs: plain,
  },
];
