/** Matrix products: `matmul` with broadcast batches and free transposes, `linear` with bias and activation fused. */
import type { Activation } from "@refl/kernels-wgsl";
import { isFloat } from "../dtype.ts";
import { DTypeError, ShapeError } from "../errors.ts";
import { apply, type ForwardTable } from "../op.ts";
import { scope } from "../scope.ts";
import { broadcastShapes, broadcastStrides, mergeAxes, numel } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { contiguous } from "./copy.ts";
import { gemm, type MatrixOperand } from "./gemm.ts";

export interface MatmulAttrs {
  matmul: Record<never, never>;
  /** Inputs x [..., in], weight [out, in], optional bias [out]. */
  linear: { readonly activation: Activation };
}

/** x as a matrix operand with batch axes broadcast to `batch`; a copy where the batch axes do not step evenly. */
function operand(x: Tensor, batch: readonly number[]): MatrixOperand {
  const rank = x.shape.length;
  const strides = broadcastStrides(x.shape.slice(0, -2), x.strides.slice(0, -2), batch);
  const merged = mergeAxes(batch, [strides]);
  if (merged.shape.length > 1) {
    const whole = contiguous(x.expanded([...batch, ...x.shape.slice(-2)]));
    return operand(whole, batch);
  }
  return {
    storage: x.storage,
    offset: x.offset,
    row: x.strides[rank - 2]!,
    col: x.strides[rank - 1]!,
    batch: merged.strides[0]![0] ?? 0,
  };
}

export const matmulForward = {
  matmul: ([a, b]) => {
    const batch = broadcastShapes("matmul", [a!.shape.slice(0, -2), b!.shape.slice(0, -2)]);
    const [m, k] = a!.shape.slice(-2) as [number, number];
    const n = b!.shape.at(-1)!;
    const out = Tensor.empty(a!.device, [...batch, m, n], a!.dtype);
    const count = numel(batch);
    const left = operand(a!, batch);
    const right = operand(b!, batch);
    // One matrix for all batches on the right: the batches of A are just more rows.
    const rows = right.batch === 0 && count > 1 && left.batch === m * left.row;
    gemm(a!.device, {
      m: rows ? m * count : m,
      n,
      k,
      batch: rows ? 1 : count,
      dtype: a!.dtype as "f32" | "f16",
      a: rows ? { ...left, batch: 0 } : left,
      b: right,
      c: { storage: out.storage },
    });
    return out;
  },
  linear: ([x, weight, bias], { activation }) => {
    const [out, k] = weight!.shape as [number, number];
    const rows = contiguous(x!);
    const added = bias ? contiguous(bias) : null;
    const m = numel(x!.shape) / Math.max(k, 1);
    const result = Tensor.empty(x!.device, [...x!.shape.slice(0, -1), out], x!.dtype);
    gemm(x!.device, {
      m,
      n: out,
      k,
      dtype: x!.dtype as "f32" | "f16",
      a: { storage: rows.storage, offset: rows.offset, row: k, col: 1, batch: 0 },
      b: {
        storage: weight!.storage,
        offset: weight!.offset,
        row: weight!.strides[1]!,
        col: weight!.strides[0]!,
        batch: 0,
      },
      c: { storage: result.storage },
      ...(added ? { bias: { storage: added.storage, offset: added.offset, along: "col" as const } } : {}),
      activation,
    });
    return result;
  },
} satisfies ForwardTable<MatmulAttrs>;

function checkFloat(op: string, tensors: readonly Tensor[]): void {
  const dtypes = tensors.map((t) => t.dtype);
  if (dtypes.some((d) => d !== dtypes[0] || !isFloat(d)))
    throw new DTypeError(op, dtypes, "operands must all be f32 or all f16");
}

/** a [..., m, k] · b [..., k, n] → [..., m, n], batches broadcast; vectors as in `torch.matmul`. Transposed views cost nothing. Throws ShapeError and DTypeError. */
export function matmul(a: Tensor, b: Tensor): Tensor {
  checkFloat("matmul", [a, b]);
  if (a.shape.length === 0 || b.shape.length === 0)
    throw new ShapeError("matmul", [a.shape, b.shape], "operands need at least one axis; multiply scalars with mul");
  if (a.shape.length === 1) return scope(() => matmul(a.unsqueeze(0), b).squeeze(b.shape.length === 1 ? 0 : -2));
  if (b.shape.length === 1) return scope(() => matmul(a, b.unsqueeze(1)).squeeze(-1));
  if (a.shape.at(-1) !== b.shape.at(-2)) {
    const fits = a.shape.at(-1) === b.shape.at(-1) ? "; did you mean b.transpose(-1, -2)?" : "";
    throw new ShapeError(
      "matmul",
      [a.shape, b.shape],
      `the last axis of a (${a.shape.at(-1)}) must equal the second last of b (${b.shape.at(-2)})${fits}`,
    );
  }
  return apply("matmul", [a, b], {});
}

/** act(x · weightᵀ + bias). x: [..., in], weight: [out, in], bias: [out] or null. Throws ShapeError and DTypeError. */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | null = null, activation: Activation = "none"): Tensor {
  checkFloat("linear", bias ? [x, weight, bias] : [x, weight]);
  if (weight.shape.length !== 2 || x.shape.at(-1) !== weight.shape[1]) {
    throw new ShapeError(
      "linear",
      [x.shape, weight.shape],
      `x ends in ${x.shape.at(-1) ?? "nothing"}, the weight takes ${weight.shape[1]}`,
    );
  }
  if (bias && (bias.shape.length !== 1 || bias.shape[0] !== weight.shape[0]))
    throw new ShapeError("linear", [weight.shape, bias.shape], `the bias must be [${weight.shape[0]}]`);
  return apply("linear", bias ? [x, weight, bias] : [x, weight], { activation });
}
