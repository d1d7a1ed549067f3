/** Scaled dot-product attention whose memory grows with the tokens, not with their square. */
import {
  type AttentionLayout,
  attention,
  attentionBackwardKey,
  attentionBackwardKeySubgroup,
  attentionBackwardQuery,
  attentionBackwardQuerySubgroup,
  attentionDefines,
  attentionGemm,
  attentionGemmKey,
  attentionGemmQuery,
  attentionGrid,
  attentionLoops,
  attentionSubgroup,
} from "@refl/kernels-wgsl";
import { isFloat } from "../dtype.ts";
import { DTypeError, ShapeError } from "../errors.ts";
import { apply, type ForwardTable } from "../op.ts";
import { contiguousStrides, numel } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { choose } from "../tune/chooser.ts";
import { gemmAttention, gemmAttentionBackward, gemmAttentionFits } from "./attention-gemm.ts";
import { type Attention, headRows, padded, tokenMajor } from "./attention-heads.ts";
import { cast, contiguous, copyInto } from "./copy.ts";

export interface AttentionAttrs {
  /** Inputs q [B, H, T, D], k [B, H, S, D], v [B, H, S, E], optional key mask [B, S]. Further output: log-sum-exp [B, H, T]. */
  scaledDotProductAttention: Attention;
  /** Inputs: gradient, q, k, v, result, log-sum-exp, mask if there is one. Outputs: dq, dk, dv. */
  scaledDotProductAttentionBackward: Attention;
}

/** The most queries (keys, backward) that a lane should own: registers are what GPUs are short of, loads what software adapters are slow at. */
function mostRows({ adapter }: Tensor["device"], size: number, backward: boolean): number {
  if (adapter.software) return backward ? 2 : 4;
  // Forward a row takes 2 · size registers, backward 3 or 4 · size; 128 leave room for the rest.
  const rows = Math.floor(128 / ((backward ? 4 : 2) * size));
  return rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
}

/** As many uses of what is fetched as `most` rows to a lane allow, but no more rows than there are tokens for. */
function rowsPerLane(tokens: number, lanes: number, most: number): number {
  let best = 1;
  let least = Number.POSITIVE_INFINITY;
  for (let rows = 1; rows <= most; rows *= 2) {
    // Fetching a key for all lanes costs about as much as 2.5 queries' arithmetic.
    const cost = Math.ceil(tokens / (lanes * rows)) * (2.5 + rows);
    if (cost < least) {
      least = cost;
      best = rows;
    }
  }
  return best;
}

/** The key mask as bools without gaps. */
const shownKeys = (mask: Tensor | undefined): Tensor | undefined =>
  mask && contiguous(isFloat(mask.dtype) ? cast(mask, "bool") : mask);

/**
 * The kernels of attention: lanes that own queries (or keys), by workgroup or by shuffles, one to a lane or as many as pay; and matrix products where
 * {@link gemmAttentionFits}.
 */
export type AttentionKernel = "portable1" | "portable" | "subgroup1" | "subgroup" | "products";

/** What a tuner's measurements are of. */
const TEXTS = [
  attention,
  attentionBackwardQuery,
  attentionBackwardKey,
  attentionGemm,
  attentionGemmKey,
  attentionGemmQuery,
];

/** Runs attention by its standard kernel, or by the one that the device's chooser prefers. */
function choosing(
  op: keyof AttentionAttrs,
  [q, k, v]: readonly [Tensor, Tensor, Tensor],
  causal: boolean,
  run: (kernel: AttentionKernel) => void,
): void {
  const { device } = q;
  const lanes = device.capabilities.subgroupSize;
  // Shuffles pay where loads are dear: on software adapters, whose subgroups are small.
  const subgroups = lanes >= 4 && lanes <= 16;
  const fits = gemmAttentionFits(q, k, v);
  const standard: AttentionKernel = fits ? "products" : subgroups ? "subgroup" : "portable";
  if (!device.chooser) {
    run(standard);
    return;
  }
  const candidates: AttentionKernel[] = ["portable1", "portable"];
  if (subgroups) candidates.push("subgroup1", "subgroup");
  if (fits) candidates.push("products");
  const [batch, heads, queries, d] = q.shape as [number, number, number, number];
  const sizes = { pairs: batch * heads, queries, keys: k.shape[2]!, d, e: v.shape[3]! };
  const form = `${q.dtype}${causal ? " causal" : ""}`;
  run(choose(device.chooser, { op, form, sizes, standard, candidates, kernels: TEXTS, run }));
}

/** What both directions share: sizes, parameters, defines. */
function plan(
  [q, k, v]: readonly [Tensor, Tensor, Tensor],
  mask: Tensor | undefined,
  { causal, scale }: Attention,
  kernel: Exclude<AttentionKernel, "products">,
) {
  const [batch, heads, queries, size] = q.shape as [number, number, number, number];
  const keys = k.shape[2]!;
  const rows = { q: headRows(q), k: headRows(k), v: headRows(v) };
  const shown = shownKeys(mask);
  const subgroup = kernel.startsWith("subgroup") ? q.device.capabilities.subgroupSize : 0;
  const layout: Omit<AttentionLayout, "rows"> = {
    type: q.dtype as "f32" | "f16",
    size: padded(size),
    valueSize: padded(v.shape[3]!),
    subgroup,
    rolled: q.device.adapter.software && Math.max(size, v.shape[3]!) > 64,
  };
  const pairs = batch * heads;
  const params = {
    atQ: rows.q.at,
    atK: rows.k.at,
    atV: rows.v.at,
    pairs,
    heads,
    queries,
    keys,
    atMask: shown?.offset ?? 0,
    masked: shown ? 1 : 0,
    causal: causal ? 1 : 0,
    scale,
  };
  return {
    params,
    subgroup: subgroup > 0,
    operands: [rows.q.storage, rows.k.storage, rows.v.storage],
    /** Bound where there is no mask, too, and then not read. */
    mask: shown?.storage ?? rows.k.storage,
    /** Defines and grid for lanes that own queries or keys. */
    over: (tokens: number, most: number) => {
      const perLane = kernel.endsWith("1") ? 1 : rowsPerLane(tokens, subgroup || 8, most);
      const whole = { ...layout, rows: perLane };
      return {
        defines: attentionDefines(whole),
        loops: attentionLoops(whole),
        grid: attentionGrid(tokens, pairs, subgroup, perLane),
      };
    },
  };
}

/** Fills `out` and the log-sum-exp by lanes that own queries. */
function laneAttention(
  operands: readonly [Tensor, Tensor, Tensor],
  mask: Tensor | undefined,
  attrs: Attention,
  by: Exclude<AttentionKernel, "products">,
  out: Tensor,
  lse: Tensor,
): void {
  const [q] = operands;
  const { params, subgroup, operands: storages, mask: hidden, over } = plan(operands, mask, attrs, by);
  const { defines, loops, grid } = over(params.queries, mostRows(q.device, q.shape[3]!, false));
  q.device.run(
    subgroup ? attentionSubgroup : attention,
    defines,
    [...storages, hidden, out.storage, lse.storage],
    { ...params, ...loops, scale: params.scale * Math.LOG2E },
    grid,
  );
}

/** Fills the gradients by lanes that own queries, then by lanes that own keys. */
function laneAttentionBackward(
  [gradient, q, k, v, out, lse]: readonly [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor],
  mask: Tensor | undefined,
  attrs: Attention,
  by: Exclude<AttentionKernel, "products">,
  [dq, dk, dv]: readonly [Tensor, Tensor, Tensor],
): void {
  const { device } = q;
  const { params, subgroup, operands, mask: hidden, over } = plan([q, k, v], mask, attrs, by);
  const g = headRows(gradient);
  const o = headRows(out);
  // Log-sum-exp, and after it what the first kernel leaves for the second.
  const stats = Tensor.empty(device, [2, ...lse.shape], "f32");
  copyInto(stats, { strides: contiguousStrides(lse.shape), offset: 0 }, lse);
  const most = mostRows(device, q.shape[3]!, true);
  const byQuery = over(params.queries, most);
  device.run(
    subgroup ? attentionBackwardQuerySubgroup : attentionBackwardQuery,
    byQuery.defines,
    [g.storage, ...operands, o.storage, hidden, dq.storage, stats.storage],
    { ...params, ...byQuery.loops, atG: g.at, atO: o.at },
    byQuery.grid,
  );
  const byKey = over(params.keys, most);
  device.run(
    subgroup ? attentionBackwardKeySubgroup : attentionBackwardKey,
    byKey.defines,
    [g.storage, ...operands, stats.storage, hidden, dk.storage, dv.storage],
    { ...params, ...byKey.loops, atG: g.at },
    byKey.grid,
  );
}

export const attentionForward = {
  scaledDotProductAttention: ([q, k, v, mask], attrs) => {
    const shape = [...q!.shape.slice(0, 3), v!.shape[3]!];
    const out = tokenMajor(q!, shape);
    const lse = Tensor.empty(q!.device, q!.shape.slice(0, 3), "f32");
    if (numel(shape) === 0) return [out, lse];
    if (k!.shape[2] === 0) return [out.contiguous().fill_(0), lse.fill_(0)];
    const operands = [q!, k!, v!] as const;
    choosing("scaledDotProductAttention", operands, attrs.causal, (kernel) => {
      if (kernel === "products") gemmAttention(...operands, shownKeys(mask), attrs, out, lse);
      else laneAttention(operands, mask, attrs, kernel, out, lse);
    });
    return [out, lse];
  },
  scaledDotProductAttentionBackward: ([gradient, q, k, v, out, lse, mask], attrs) => {
    const dq = tokenMajor(q!, q!.shape);
    const dk = tokenMajor(k!, k!.shape);
    const dv = tokenMajor(v!, v!.shape);
    if (dq.numel === 0 || dk.numel === 0 || dv.numel === 0) {
      return [dq, dk, dv].map((d) => d.contiguous().fill_(0));
    }
    const operands = [q!, k!, v!] as const;
    const all = [gradient!, ...operands, out!, lse!] as const;
    let made: readonly Tensor[] = [];
    choosing("scaledDotProductAttentionBackward", operands, attrs.causal, (kernel) => {
      if (kernel === "products") made = gemmAttentionBackward(all, shownKeys(mask), attrs, dk, dv);
      else {
        laneAttentionBackward(all, mask, attrs, kernel, [dq, dk, dv]);
        made = [dq, dk, dv];
      }
    });
    return made;
  },
} satisfies ForwardTable<AttentionAttrs>;

export interface AttentionOptions {
  /** Keys that any query may look at, [B, S]: bool, or numbers of which 0 hides. Default: all. */
  mask?: Tensor | null;
  /** Query i sees keys 0…i. Default false. */
  causal?: boolean;
  /** Factor on the scores. Default 1 / √D. */
  scale?: number;
}

/**
 * softmax(scale · q kᵀ) v for every head, as `torch.nn.functional.scaled_dot_product_attention`, by running sums over the keys (Milakov and Gimelshein
 * 2018; Dao et al. 2022). q: [B, H, T, D]; k: [B, H, S, D]; v: [B, H, S, E] → [B, H, T, E], which lies in memory as [B, T, H, E]: both splitting heads
 * off [B, T, H·D] and joining them again cost nothing. A query that sees no key gives 0. Throws ShapeError and DTypeError.
 */
export function scaledDotProductAttention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const op = "scaledDotProductAttention";
  const mask = options.mask ?? null;
  if (!isFloat(q.dtype) || k.dtype !== q.dtype || v.dtype !== q.dtype)
    throw new DTypeError(op, [q.dtype, k.dtype, v.dtype], "q, k and v must all be f32 or all f16");
  const [batch, heads, , size] = q.shape;
  const fits =
    [q, k, v].every((t) => t.rank === 4 && t.shape[0] === batch && t.shape[1] === heads) &&
    k.shape[3] === size &&
    v.shape[2] === k.shape[2] &&
    size !== 0;
  if (!fits)
    throw new ShapeError(
      op,
      [q.shape, k.shape, v.shape],
      "must be [B, H, T, D], [B, H, S, D] and [B, H, S, E] with D > 0",
    );
  if (mask && (mask.rank !== 2 || mask.shape[0] !== batch || mask.shape[1] !== k.shape[2])) {
    throw new ShapeError(op, [k.shape, mask.shape], `the key mask must be [${batch}, ${k.shape[2]}]`);
  }
  return apply(op, mask ? [q, k, v, mask] : [q, k, v], {
    causal: options.causal ?? false,
    scale: options.scale ?? 1 / Math.sqrt(size!),
  });
}
