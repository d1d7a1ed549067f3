/** Every rule against central differences of the float64 reference, over all case tables. */
import { drawOperand, type NdArray, type OpCase, opCases, references } from "@refl/kernels-wgsl/testing";
import { apply, isFloat, type Op, type OpAttrs, scope, tensor } from "@refl/tensor";
import { expect, test } from "vitest";
import { testDevice } from "../../tensor/test/device.ts";
import { caseName, place, relativeError } from "../../tensor/test/operands.ts";
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

const differentiable = opCases.filter(
  (c) =>
    rules[c.op as Op] !== null &&
    c.inputs.some((i) => isFloat(i.dtype ?? "f32") && i.differentiable !== false) &&
    c.inputs.every((i) => i.shape.every((n) => n > 0)) &&
    c.inputs.reduce((n, i) => n + i.shape.reduce((a, b) => a * b, 1), 0) <= 2500,
);

test("every rule is checked, or the op has none", () => {
  const covered = new Set(differentiable.map((c) => c.op));
  expect(Object.keys(rules).filter((op) => rules[op as Op] !== null && !covered.has(op))).toEqual([]);
});

for (const tier of ["full", "portable"] as const) {
  test.for(differentiable.map((c) => [caseName(c), c] as const))(`${tier} %s`, async ([, c]) => {
    const device = await testDevice(tier);
    const operands = c.inputs.map((spec, i) => drawOperand(spec, 29 * i + 5));
    const wanted = c.inputs.map(
      (spec) => isFloat(spec.dtype ?? "f32") && spec.values !== "bool" && spec.differentiable !== false,
    );
    const shape = references[c.op]!(operands, c.attrs as never).shape;
    const cotangent = drawOperand({ shape }, 991);
    const check = async (): Promise<number> => {
      const before = device.memory().storages;
      const gradients = scope(() => {
        const inputs = c.inputs.map((spec, i) => place(device, spec, operands[i]!));
        for (const [i, t] of inputs.entries()) if (wanted[i]) requireGrad(t);
        const out = apply(c.op as Op, inputs, c.attrs as OpAttrs[Op]);
        if (!isFloat(out.dtype)) return [];
        return grad(
          out,
          inputs.filter((_, i) => wanted[i]),
          { gradient: tensor(device, cotangent.data, shape, out.dtype) },
        );
      });
      let next = 0;
      for (let k = 0; k < operands.length && gradients.length; k++) {
        if (!wanted[k]) continue;
        const found = await gradients[next++]!.data();
        expect(
          gradientError(found, numericGradient(c, operands, k, cotangent.data)),
          `operand ${k}`,
        ).toBeLessThanOrEqual(c.tolerance ?? 1e-5);
      }
      for (const g of gradients) g.dispose();
      return device.memory().storages - before;
    };
    // The first run may fill a cache of the device, such as resize's weight tables; a second run must leave nothing.
    if ((await check()) !== 0) expect(await check()).toBe(0);
  });
}
