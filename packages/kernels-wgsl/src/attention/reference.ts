/** Float64 references of the attention ops. */
import { type NdArray, ndarray, type ReferenceTable } from "../testing/cases.ts";

interface Attention {
  causal: boolean;
  scale: number;
}

/** A row of a [B, H, T, D] array. */
const row = (x: NdArray, pair: number, token: number): Float64Array => {
  const [tokens, size] = x.shape.slice(2) as [number, number];
  return x.data.subarray((pair * tokens + token) * size, (pair * tokens + token + 1) * size);
};

const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);

/** Scores of one query against all keys, −∞ where hidden. */
function scores(
  q: NdArray,
  k: NdArray,
  mask: NdArray | undefined,
  attrs: Attention,
  pair: number,
  query: number,
): Float64Array {
  const [, heads, ,] = q.shape as [number, number, number, number];
  const keys = k.shape[2]!;
  return Float64Array.from({ length: keys }, (_, j) => {
    const hidden = (attrs.causal && j > query) || mask?.data[Math.floor(pair / heads) * keys + j] === 0;
    return hidden ? Number.NEGATIVE_INFINITY : attrs.scale * dot(row(q, pair, query), row(k, pair, j));
  });
}

export const attentionReference = {
  scaledDotProductAttention: ([q, k, v, mask], attrs: Attention) => {
    const [batch, heads, queries] = q!.shape as [number, number, number];
    const out = ndarray([batch, heads, queries, v!.shape[3]!]);
    for (let pair = 0; pair < batch * heads; pair++) {
      for (let i = 0; i < queries; i++) {
        const s = scores(q!, k!, mask, attrs, pair, i);
        const top = s.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
        if (top === Number.NEGATIVE_INFINITY) continue;
        const e = s.map((x) => Math.exp(x - top));
        const total = e.reduce((a, b) => a + b, 0);
        const result = row(out, pair, i);
        e.forEach((x, j) => {
          row(v!, pair, j).forEach((y, d) => {
            result[d]! += (x / total) * y;
          });
        });
      }
    }
    return out;
  },
  scaledDotProductAttentionBackward: ([g, q, k, v, o, lse, mask], attrs: Attention) => {
    const [batch, heads, queries] = q!.shape as [number, number, number];
    const out = ndarray(q!.shape);
    for (let pair = 0; pair < batch * heads; pair++) {
      for (let i = 0; i < queries; i++) {
        const slope = row(g!, pair, i);
        const delta = dot(slope, row(o!, pair, i));
        const result = row(out, pair, i);
        scores(q!, k!, mask, attrs, pair, i).forEach((s, j) => {
          const ds = Math.exp(s - lse!.data[pair * queries + i]!) * (dot(slope, row(v!, pair, j)) - delta);
          row(k!, pair, j).forEach((y, d) => {
            result[d]! += attrs.scale * ds * y;
          });
        });
      }
    }
    return out;
  },
} satisfies ReferenceTable;
