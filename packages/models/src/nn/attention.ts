/** Multi-head attention over token rows, whatever names the projections around it have. */
import { ShapeError, scaledDotProductAttention, type Tensor } from "@refl/tensor";

export interface AttentionOptions {
  /** Keys to look at, [B, keys] i32: 0 hides a key from all queries. Default: all. */
  readonly mask?: Tensor | null;
  /** Each query sees the keys up to its own position. Default false. */
  readonly causal?: boolean;
}

/** [B, T, heads · D] → [B, heads, T, D]. */
function splitHeads(x: Tensor, heads: number): Tensor {
  const [batch, tokens, width] = x.shape as [number, number, number];
  return x.reshape(batch, tokens, heads, width / heads).permute(0, 2, 1, 3);
}

/**
 * softmax(q kᵀ / √D) v with D = width / heads. query: [B, T, width], key and value: [B, S, width] → [B, T, width].
 * Throws ShapeError when the width does not divide into the heads.
 */
export function multiHeadAttention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  heads: number,
  options: AttentionOptions = {},
): Tensor {
  const [batch, tokens, width] = query.shape as [number, number, number];
  if (width % heads)
    throw new ShapeError("attention", [query.shape], `width ${width} does not divide into ${heads} heads`);
  const out = scaledDotProductAttention(splitHeads(query, heads), splitHeads(key, heads), splitHeads(value, heads), {
    causal: options.causal ?? false,
    mask: options.mask ?? null,
  });
  return out.permute(0, 2, 1, 3).reshape(batch, tokens, width);
}
