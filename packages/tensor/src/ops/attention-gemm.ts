/** Attention as matrix products by subgroup broadcast, for software adapters: forward, and backward over windows of the scores' gradients. */
import {
  attentionDelta,
  attentionDeltaGrid,
  attentionGemm,
  attentionGemmDefines,
  attentionGemmGrid,
  attentionGemmKey,
  attentionGemmQuery,
} from "@refl/kernels-wgsl";
import { Tensor } from "../tensor.ts";
import { type Attention, headRows, padded, tokenMajor } from "./attention-heads.ts";
import { contiguous, copyInto } from "./copy.ts";

/** Elements of the window of scores' gradients, 4 MB; it has 32 keys at the least, and so grows with the queries and not with their square. */
const WINDOW = 1 << 20;

/** Rows to a workgroup: 32 take 0.9 of the time of twice 16, where the last workgroup is not mostly empty, but for large heads half a minute to compile. */
const rowsFor = (tokens: number, size: number): 16 | 32 =>
  size <= 64 && 0.9 * Math.ceil(tokens / 32) * 32 <= Math.ceil(tokens / 16) * 16 ? 32 : 16;

/**
 * Whether these kernels are the faster ones. They fill 16 rows and the vec4s of a head in every lane, which small heads and few tokens leave empty; on
 * GPUs, where loads cost little, a subgroup to 16 queries would leave most of the device idle.
 */
export function gemmAttentionFits({ device, shape }: Tensor, k: Tensor, v: Tensor): boolean {
  const lanes = device.capabilities.subgroupSize;
  const [, , queries, size] = shape as [number, number, number, number];
  return (
    device.adapter.software &&
    lanes >= 4 &&
    lanes <= 16 &&
    Math.min(size, v.shape[3]!) >= 48 &&
    Math.max(size, v.shape[3]!) <= 128 &&
    Math.min(queries, k.shape[2]!) >= 16
  );
}

function layout(q: Tensor, v: Tensor) {
  const type = q.dtype as "f32" | "f16";
  return {
    type,
    result: type,
    size: padded(q.shape[3]!),
    valueSize: padded(v.shape[3]!),
    subgroup: q.device.capabilities.subgroupSize,
    rows: 16 as 16 | 32,
  };
}

function sizes(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | undefined, { causal }: Attention) {
  const [batch, heads, queries, size] = q.shape as [number, number, number, number];
  return {
    pairs: batch * heads,
    heads,
    queries,
    keys: k.shape[2]!,
    atMask: mask?.offset ?? 0,
    masked: mask ? 1 : 0,
    causal: causal ? 1 : 0,
    chunks: padded(size) / 4,
    valueChunks: padded(v.shape[3]!) / 4,
  };
}

/** What is bound as the mask: any other buffer where there is none, and then not read. */
const hidden = (mask: Tensor | undefined, k: Tensor): Tensor["storage"] => (mask ?? k).storage;

/** Fills `out`, which lies token by token, and the log-sum-exp. */
export function gemmAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  mask: Tensor | undefined,
  attrs: Attention,
  out: Tensor,
  lse: Tensor,
): void {
  const rows = [q, k, v].map(headRows);
  const [atQ, atK, atV] = rows.map(({ at }) => at) as [number[], number[], number[]];
  const params = { ...sizes(q, k, v, mask, attrs), atQ, atK, atV, scale: attrs.scale * Math.LOG2E };
  const shape = layout(q, v);
  const perGroup = rowsFor(params.queries, Math.max(shape.size, shape.valueSize));
  q.device.run(
    attentionGemm,
    attentionGemmDefines({ ...shape, rows: perGroup }),
    [...rows.map(({ storage }) => storage), hidden(mask, k), out.storage, lse.storage],
    params,
    attentionGemmGrid(params.queries, params.pairs, perGroup),
  );
}

/** dq, dk and dv, of which the last two are given to be filled. */
export function gemmAttentionBackward(
  [gradient, q, k, v, out, lse]: readonly [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor],
  mask: Tensor | undefined,
  attrs: Attention,
  dk: Tensor,
  dv: Tensor,
): [dq: Tensor, dk: Tensor, dv: Tensor] {
  const { device } = q;
  const g = headRows(gradient);
  const o = headRows(out);
  const rows = [q, k, v].map(headRows);
  const [atQ, atK, atV] = rows.map(({ at }) => at) as [number[], number[], number[]];
  const common = { ...sizes(q, k, v, mask, attrs), atG: g.at, atO: o.at, atQ, atK, atV, scale: attrs.scale };
  const { pairs, queries, keys } = common;
  const width = padded(queries);
  const shape = layout(q, v);
  const perGroup = rowsFor(keys, Math.max(shape.size, shape.valueSize));
  const mostKeys = Math.max(32, Math.floor(WINDOW / width / 32) * 32);
  const windowKeys = Math.min(Math.ceil(keys / perGroup) * perGroup, mostKeys);
  const windowPairs = windowKeys < keys ? 1 : Math.max(1, Math.min(pairs, Math.floor(WINDOW / (width * windowKeys))));
  const scratch = Tensor.empty(device, [2 * pairs * width + windowPairs * windowKeys * width], "f32");
  const sums = contiguous(lse);
  device.run(
    attentionDelta,
    { T: q.dtype },
    [g.storage, o.storage, sums.storage, scratch.storage],
    { ...common, width, offset: sums.offset },
    attentionDeltaGrid(pairs * width),
  );
  const split = windowKeys < keys;
  const type = q.dtype as "f32" | "f16";
  const sum = tokenMajor(q, q.shape, split ? "f32" : type);
  const [, ks] = rows;
  for (let firstPair = 0; firstPair < pairs; firstPair += windowPairs) {
    for (let firstKey = 0; firstKey < keys; firstKey += windowKeys) {
      const params = {
        ...common,
        width,
        window: (2 * pairs * width) / 4,
        firstPair,
        windowPairs: Math.min(windowPairs, pairs - firstPair),
        firstKey,
        windowKeys,
        more: firstKey > 0 ? 1 : 0,
      };
      device.run(
        attentionGemmKey,
        attentionGemmDefines({ ...shape, rows: perGroup }),
        [g.storage, ...rows.map(({ storage }) => storage), hidden(mask, k), scratch.storage, dk.storage, dv.storage],
        params,
        attentionGemmGrid(Math.min(windowKeys, keys - firstKey), params.windowPairs, perGroup),
      );
      device.run(
        attentionGemmQuery,
        attentionGemmDefines({ ...shape, result: split ? "f32" : type }),
        [ks!.storage, scratch.storage, sum.storage],
        params,
        attentionGemmGrid(queries, params.windowPairs, 16),
      );
    }
  }
  if (sum.dtype === type) return [sum, dk, dv];
  const dq = tokenMajor(q, q.shape, type);
  copyInto(dq, dq, sum);
  return [dq, dk, dv];
}
