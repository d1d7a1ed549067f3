/** What all of attention's kernels share: its attributes, and its operands' memory as heads' rows that can be loaded and stored as vec4s. */
import { contiguousStrides } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { copyInto } from "./copy.ts";

/** Attributes of attention and of its gradients. */
export interface Attention {
  readonly causal: boolean;
  /** Factor on the scores before the softmax. */
  readonly scale: number;
}

/** [B, H, T, D] in memory where vec4s can be loaded along D; D is rounded up to a multiple of 4 with zeros. */
export interface HeadRows {
  readonly storage: Tensor["storage"];
  /** Strides of batch, head and token, and the offset, in vec4s. */
  readonly at: readonly number[];
}

/** A head's size in memory. */
export const padded = (size: number): number => Math.ceil(size / 4) * 4;

/** `x` as rows of vec4s: in place where its strides allow that, otherwise a copy. */
export function headRows(x: Tensor): HeadRows {
  const [, , , size] = x.shape as [number, number, number, number];
  const strides = x.strides.map((stride, i) => (x.shape[i] === 1 ? 0 : stride));
  const fits = size % 4 === 0 && strides[3] === 1 && [...strides.slice(0, 3), x.offset].every((n) => n % 4 === 0);
  if (fits) return { storage: x.storage, at: [...strides.slice(0, 3), x.offset].map((n) => n / 4) };
  const shape = [...x.shape.slice(0, 3), padded(size)];
  const copy = Tensor.empty(x.device, shape, x.dtype);
  if (size % 4) copy.fill_(0);
  copyInto(copy, { strides: contiguousStrides(shape), offset: 0 }, x);
  return { storage: copy.storage, at: [...contiguousStrides(shape).slice(0, 3), 0].map((n) => n / 4) };
}

/** A fresh [B, H, T, D] that lies in memory as [B, T, H, D], so that joining the heads is a view. */
export function tokenMajor(like: Tensor, shape: readonly number[], dtype = like.dtype): Tensor {
  const [batch, heads, tokens, size] = shape as [number, number, number, number];
  const row = padded(size);
  const memory = Tensor.empty(like.device, [batch, tokens, heads, row], dtype);
  return memory.view(shape, [tokens * heads * row, row, heads * row, 1]);
}
