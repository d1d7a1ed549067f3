/** Arithmetic of products: how many floating-point operations a dispatch of a matrix product, convolution or attention does. */
import { type PhasedAxis, phasesOf } from "./conv/index.ts";
import type { Defines, ParamValues } from "./kernel.ts";

type Dispatch = {
  readonly params: ParamValues;
  readonly defines: Defines;
  readonly grid: readonly [number, number, number];
};

const values = ({ params }: Dispatch, ...names: string[]): number =>
  names.reduce((product, name) => product * (params[name] as number), 1);

/** Products of queries with keys over heads of D (q, k) and V (v) elements, `overD` and `overV` times. */
function attention(dispatch: Dispatch, overD: number, overV: number): number {
  const { D4, V4 } = dispatch.defines as Record<string, number>;
  return 2 * values(dispatch, "pairs", "queries", "keys") * 4 * (overD * D4! + overV * V4!);
}

/** The same of the kernels that have their sizes as parameters, in vec4s; `keys` are those of all heads. */
const headProducts = (dispatch: Dispatch, keys: number, overD: number, overV: number): number =>
  8 *
  keys *
  values(dispatch, "queries") *
  (overD * values(dispatch, "chunks") + overV * values(dispatch, "valueChunks"));

const gemm = (dispatch: Dispatch): number => 2 * values(dispatch, "m", "n", "k") * dispatch.grid[2];

const implicit = (dispatch: Dispatch): number => 2 * values(dispatch, "m", "n", "k");

/** Pixels and window positions of an axis that meet, over all phases. */
const met = (axis: PhasedAxis): number => phasesOf(axis).reduce((sum, { taps, size }) => sum + taps * size, 0);

function phases(dispatch: Dispatch): number {
  const { height, width, kHeight, kWidth, strideY, strideX, padY, padX } = dispatch.params as Record<string, number>;
  const down = met({ size: height!, window: kHeight!, stride: strideY!, pad: padY! });
  const across = met({ size: width!, window: kWidth!, stride: strideX!, pad: padX! });
  return 8 * values(dispatch, "m", "batch", "groups") * down * across;
}

const COUNTS: Readonly<Record<string, (dispatch: Dispatch) => number>> = {
  gemm_naive: gemm,
  gemm_register: gemm,
  gemm_register_vec4: gemm,
  gemm_tiled: gemm,
  gemm_subgroup: gemm,
  gemm_quad: gemm,
  conv_naive: implicit,
  conv_register: implicit,
  conv_implicit: implicit,
  conv_subgroup: (d) => 8 * values(d, "m", "n", "k4"),
  conv_phase_subgroup: phases,
  conv_weight_subgroup: (d) => 32 * values(d, "m", "n4", "allLines", "width4"),
  attention: (d) => attention(d, 1, 1),
  attention_gemm: (d) => headProducts(d, values(d, "pairs", "keys"), 1, 1),
  attention_gemm_key: (d) => headProducts(d, values(d, "windowPairs", "windowKeys"), 2, 2),
  attention_gemm_query: (d) => 8 * values(d, "windowPairs", "windowKeys", "queries", "chunks"),
  attention_backward_query: (d) => attention(d, 2, 1),
  attention_backward_key: (d) => attention(d, 2, 2),
};

/**
 * Multiplications and additions of a product, two to each pair of factors, padding included and causal masks ignored; 0 for all other kernels, which
 * memory bounds.
 */
export function flopsOf(kernel: string, dispatch: Dispatch): number {
  return (COUNTS[kernel] ?? COUNTS[kernel.replace(/_subgroup$/, "")])?.(dispatch) ?? 0;
}
