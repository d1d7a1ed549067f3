/** A row's gradients by the tape against central differences of the float64 reference. */
import { drawOperand, type NdArray, type OpCase, opCases, references } from "@refl/kernels-wgsl/testing";
import { apply, type Device, isFloat, type Op, type OpAttrs, scope, tensor } from "@refl/tensor";
import { place, relativeError } from "../../tensor/test/operands.ts";
import { grad, requireGrad } from "../src/index.ts";
import { rules } from "../src/rules/index.ts";

/** d Σ w·f(x) / dx of operand `k` by central differences in float64. */
function numericGradient(c: OpCase, operands: readonly NdArray[], k: number, cotangent: Float64Array): Float64Array {
  const reference = references[c.op]!;
  const value = (): number =>
    reference(operands, c.attrs as never).data.reduce((sum, y, i) => sum + y * cotangent[i]!, 0);
  const data = operands[k]!.data;
  return data.map((x, i) => {
    const h = 1e-5 * Math.max(1, Math.abs(x));
    data[i] = x + h;
    const up = value();
    data[i] = x - h;
    const down = value();
    data[i] = x;
    return (up - down) / (2 * h);
  });
}

/** Below this a numeric gradient is a zero of theory (attention to a single key, by that key): what the device finds is rounding, compared absolutely. */
const ZERO = 1e-8;

/** max|Δ| / max|numeric|, or max|Δ| in units of a tenth for a gradient that is zero in theory. */
function gradientError(found: ArrayLike<number>, numeric: Float64Array): number {
  const zero = numeric.every((v) => Math.abs(v) < ZERO);
  return zero ? relativeError([...Array.from(found), 0.1], [...numeric, 0.1]) : relativeError(found, numeric);
}

/** The rows whose op has a rule and whose operands are few enough to be moved one by one. */
export const differentiable: readonly OpCase[] = opCases.filter(
  (c) =>
    rules[c.op as Op] !== null &&
    c.inputs.some((i) => isFloat(i.dtype ?? "f32") && i.differentiable !== false) &&
    c.inputs.every((i) => i.shape.every((n) => n > 0)) &&
    c.inputs.reduce((n, i) => n + i.shape.reduce((a, b) => a * b, 1), 0) <= 2500,
);

/** Errors of the gradients of a row's differentiable operands, by operand, for a random gradient of the result. */
export async function gradientErrors(device: Device, c: OpCase): Promise<[operand: number, error: number][]> {
  const operands = c.inputs.map((spec, i) => drawOperand(spec, 29 * i + 5));
  const wanted = c.inputs.flatMap((spec, i) =>
    isFloat(spec.dtype ?? "f32") && spec.values !== "bool" && spec.differentiable !== false ? [i] : [],
  );
  const { shape } = references[c.op]!(operands, c.attrs as never);
  const cotangent = drawOperand({ shape }, 991);
  const gradients = scope(() => {
    const inputs = c.inputs.map((spec, i) => place(device, spec, operands[i]!));
    for (const i of wanted) requireGrad(inputs[i]!);
    const out = apply(c.op as Op, inputs, c.attrs as OpAttrs[Op]);
    if (!isFloat(out.dtype)) return [];
    const leaves = wanted.map((i) => inputs[i]!);
    return grad(out, leaves, { gradient: tensor(device, cotangent.data, shape, out.dtype) });
  });
  const errors: [number, number][] = [];
  for (const [at, gradient] of gradients.entries()) {
    const k = wanted[at]!;
    errors.push([k, gradientError(await gradient.data(), numericGradient(c, operands, k, cotangent.data))]);
    gradient.dispose();
  }
  return errors;
}
