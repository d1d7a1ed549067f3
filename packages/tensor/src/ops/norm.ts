/** Layer norm and group norm. */
import {
  groupNormBackwardRows,
  groupNormBackwardRowsSubgroup,
  groupNormRows,
  groupNormRowsSubgroup,
  groupNormSumsRows,
  groupNormSumsRowsSubgroup,
  layerNormBackwardRows,
  layerNormBackwardRowsSubgroup,
  layerNormParameters,
  layerNormRows,
  layerNormRowsSubgroup,
  linearGrid,
  normDefines,
} from "@refl/kernels-wgsl";
import { isFloat } from "../dtype.ts";
import { DTypeError, ShapeError } from "../errors.ts";
import { apply, type ForwardTable } from "../op.ts";
import { numel } from "../shape.ts";
import { emptyLike, Tensor } from "../tensor.ts";
import { contiguous } from "./copy.ts";
import { sum } from "./reduce.ts";
import { overRows, rowPlan } from "./rows.ts";

/** Activation fused into group norm's result. */
export type NormActivation = "none" | "silu";

interface GroupNorm {
  readonly groups: number;
  readonly activation: NormActivation;
}

export interface NormAttrs {
  /** Inputs x [..., D], optional weight [D], optional bias [D]. Further output: (mean, 1/σ) of each row, [rows, 2]. */
  layerNorm: { readonly eps: number };
  /** Inputs: gradient, x, statistics, weight if there is one. Outputs: dx and, when `parameters`, the gradients of weight and bias. */
  layerNormBackward: { readonly parameters: boolean };
  /** Inputs x [B, C, ...], optional weight [C], optional bias [C]. Further output: (mean, 1/σ) of each group, [B, groups, 2]. */
  groupNorm: GroupNorm & { readonly eps: number };
  /** Inputs: gradient, x, statistics, weight and bias if there are any. Outputs as of `layerNormBackward`. */
  groupNormBackward: GroupNorm & { readonly parameters: boolean };
}

type FloatType = "f32" | "f16";

/** [parts, 2, width] of partial sums (g·y, g) → the gradients of weight and bias. */
function parameterGradients(partial: Tensor, x: Tensor): Tensor[] {
  const width = partial.shape[2]!;
  const folded = sum(partial, 0).to(x.dtype);
  return [folded.view([width], [1], folded.offset), folded.view([width], [1], folded.offset + width)];
}

/** Sizes of a group norm: items, channels of a group, elements of a channel. */
function groupSizes(x: Tensor, groups: number): { items: number; channels: number; spatial: number } {
  return { items: x.shape[0]!, channels: x.shape[1]! / groups, spatial: numel(x.shape.slice(2)) };
}

const LAYER_NORM = [layerNormRows];
const LAYER_NORM_BACKWARD = [layerNormBackwardRows];
const GROUP_NORM = [groupNormRows];
const GROUP_NORM_BACKWARD = [groupNormSumsRows, groupNormBackwardRows];

export const normForward = {
  layerNorm: ([x, weight, bias], { eps }) => {
    const columns = x!.shape.at(-1)!;
    const rows = numel(x!.shape.slice(0, -1));
    const out = emptyLike(x!);
    const stats = Tensor.empty(out.device, [rows, 2], "f32");
    if (out.numel === 0) return [out, stats];
    const a = contiguous(x!);
    const w = weight && contiguous(weight);
    const b = bias && contiguous(bias);
    const work = { op: "layerNorm", type: x!.dtype as FloatType, rows, columns, kernels: LAYER_NORM };
    overRows(out.device, work, ({ layout, grid, width }) => {
      out.device.run(
        layout.lanes === "subgroup" ? layerNormRowsSubgroup : layerNormRows,
        normDefines(layout, { weight: w !== undefined, bias: b !== undefined }),
        [a.storage, ...(w ? [w.storage] : []), ...(b ? [b.storage] : []), out.storage, stats.storage],
        {
          offset: a.offset / width,
          offsetW: (w?.offset ?? 0) / width,
          offsetB: (b?.offset ?? 0) / width,
          rows,
          columns: columns / width,
          eps,
        },
        grid,
      );
    });
    return [out, stats];
  },
  layerNormBackward: ([gradient, x, stats, weight], { parameters }) => {
    const { device } = x!;
    const columns = x!.shape.at(-1)!;
    const rows = numel(x!.shape.slice(0, -1));
    const out = emptyLike(x!);
    const g = contiguous(gradient!);
    const a = contiguous(x!);
    const w = weight && contiguous(weight);
    const type = x!.dtype as FloatType;
    const { layout, width } = rowPlan(device, type, rows, columns);
    const offsets = { offset: a.offset / width, offsetG: g.offset / width };
    if (out.numel) {
      const work = { op: "layerNormBackward", type, rows, columns, kernels: LAYER_NORM_BACKWARD };
      overRows(device, work, (plan) => {
        device.run(
          plan.layout.lanes === "subgroup" ? layerNormBackwardRowsSubgroup : layerNormBackwardRows,
          normDefines(plan.layout, { weight: w !== undefined, bias: false }),
          [g.storage, a.storage, stats!.storage, ...(w ? [w.storage] : []), out.storage],
          { ...offsets, offsetW: (w?.offset ?? 0) / width, rows, columns: columns / width },
          plan.grid,
        );
      });
    }
    if (!parameters) return out;
    // Enough threads to fill a device, and chunks long enough that the fold over them costs little.
    const chunks = Math.max(1, Math.min(Math.ceil(rows / 16), Math.ceil((8192 * width) / Math.max(columns, 1))));
    const partial = Tensor.empty(device, [chunks, 2, columns], "f32");
    if (partial.numel) {
      device.run(
        layerNormParameters,
        normDefines({ ...layout, lanes: "thread", size: 64 }, { weight: false, bias: false }),
        [g.storage, a.storage, stats!.storage, partial.storage],
        { ...offsets, rows, columns: columns / width, chunks, chunk: Math.ceil(rows / chunks) },
        linearGrid((chunks * columns) / width, 64),
      );
    }
    return [out, ...parameterGradients(partial, x!)];
  },
  groupNorm: ([x, weight, bias], { groups, eps, activation }) => {
    const { items, channels, spatial } = groupSizes(x!, groups);
    const rows = items * groups;
    const out = emptyLike(x!);
    const stats = Tensor.empty(out.device, [items, groups, 2], "f32");
    if (out.numel === 0) return [out, stats];
    const a = contiguous(x!);
    const w = weight && contiguous(weight);
    const b = bias && contiguous(bias);
    const sizes = { rows, columns: channels * spatial, stretch: spatial };
    const work = { op: "groupNorm", type: x!.dtype as FloatType, ...sizes, kernels: GROUP_NORM };
    overRows(out.device, work, ({ layout, grid, width }) => {
      out.device.run(
        layout.lanes === "subgroup" ? groupNormRowsSubgroup : groupNormRows,
        normDefines(layout, { weight: w !== undefined, bias: b !== undefined }),
        [a.storage, ...(w ? [w.storage] : []), ...(b ? [b.storage] : []), out.storage, stats.storage],
        {
          offset: a.offset / width,
          offsetW: w?.offset ?? 0,
          offsetB: b?.offset ?? 0,
          rows,
          groups,
          channels,
          spatial: spatial / width,
          eps,
          silu: activation === "silu" ? 1 : 0,
        },
        grid,
      );
    });
    return [out, stats];
  },
  groupNormBackward: ([gradient, x, stats, weight, bias], { groups, activation, parameters }) => {
    const { device } = x!;
    const { items, channels, spatial } = groupSizes(x!, groups);
    const rows = x!.shape[0]! * x!.shape[1]!;
    const out = emptyLike(x!);
    const sums = Tensor.empty(device, [items, 2, groups * channels], "f32");
    if (out.numel) {
      const g = contiguous(gradient!);
      const a = contiguous(x!);
      const w = weight && contiguous(weight);
      const b = bias && contiguous(bias);
      const work = {
        op: "groupNormBackward",
        type: x!.dtype as FloatType,
        rows,
        columns: spatial,
        kernels: GROUP_NORM_BACKWARD,
      };
      overRows(device, work, ({ layout, grid, width }) => {
        const defines = normDefines(layout, { weight: w !== undefined, bias: b !== undefined });
        const affine = [...(w ? [w.storage] : []), ...(b ? [b.storage] : [])];
        const params = {
          offset: a.offset / width,
          offsetG: g.offset / width,
          offsetW: w?.offset ?? 0,
          offsetB: b?.offset ?? 0,
          rows,
          groups,
          channels,
          spatial: spatial / width,
          silu: activation === "silu" ? 1 : 0,
        };
        const subgroup = layout.lanes === "subgroup";
        device.run(
          subgroup ? groupNormSumsRowsSubgroup : groupNormSumsRows,
          defines,
          [g.storage, a.storage, stats!.storage, ...affine, sums.storage],
          params,
          grid,
        );
        const backward = subgroup ? groupNormBackwardRowsSubgroup : groupNormBackwardRows;
        const storages = [g.storage, a.storage, stats!.storage, sums.storage, ...affine, out.storage];
        device.run(backward, defines, storages, params, grid);
      });
    }
    return parameters ? [out, ...parameterGradients(sums, x!)] : out;
  },
} satisfies ForwardTable<NormAttrs>;

function checkAffine(op: string, x: Tensor, size: number, weight: Tensor | null, bias: Tensor | null): Tensor[] {
  if (bias && !weight) throw new ShapeError(op, [x.shape, bias.shape], "a bias needs a weight");
  const given = [weight, bias].filter((t): t is Tensor => t !== null);
  if (!isFloat(x.dtype) || given.some((t) => t.dtype !== x.dtype))
    throw new DTypeError(
      op,
      [x, ...given].map((t) => t.dtype),
      "operands must all be f32 or all f16",
    );
  for (const t of given)
    if (t.rank !== 1 || t.shape[0] !== size)
      throw new ShapeError(op, [x.shape, t.shape], `weight and bias must be [${size}]`);
  return given;
}

/**
 * (x − mean) / √(variance + eps) · weight + bias over the last axis, variance with divisor D, as `torch.nn.functional.layer_norm`.
 * x: [..., D]; weight, bias: [D] or null. Throws ShapeError and DTypeError.
 */
export function layerNorm(x: Tensor, weight: Tensor | null = null, bias: Tensor | null = null, eps = 1e-5): Tensor {
  if (x.rank === 0 || x.shape.at(-1) === 0)
    throw new ShapeError("layerNorm", [x.shape], "needs a last axis with elements");
  return apply("layerNorm", [x, ...checkAffine("layerNorm", x, x.shape.at(-1)!, weight, bias)], { eps });
}

/**
 * Normalises each of `groups` groups of channels over its channels and space, then scales and shifts by channel, then applies `activation`
 * (in one kernel), as `torch.nn.functional.group_norm`. x: [B, C, ...]; weight, bias: [C] or null. Throws ShapeError and DTypeError.
 */
export function groupNorm(
  x: Tensor,
  groups: number,
  weight: Tensor | null = null,
  bias: Tensor | null = null,
  eps = 1e-5,
  activation: NormActivation = "none",
): Tensor {
  const channels = x.shape[1];
  if (
    channels === undefined ||
    !Number.isInteger(groups) ||
    groups < 1 ||
    channels % groups ||
    numel(x.shape.slice(1)) === 0
  ) {
    throw new ShapeError(
      "groupNorm",
      [x.shape],
      `x must be [B, C, ...] with C divisible into ${groups} groups and space not empty`,
    );
  }
  return apply("groupNorm", [x, ...checkAffine("groupNorm", x, channels, weight, bias)], { groups, eps, activation });
}
