/** Every rule with f16 operands: gradients are f16, and those of f32 on the same operands but for rounding. */
import { type NdArray, type OpCase, references } from "@refl/kernels-wgsl/testing";
import { apply, type Device, isFloat, type Op, type OpAttrs, scope, type Tensor, tensor } from "@refl/tensor";
import { expect, test } from "vitest";
import { testDevice } from "../../tensor/test/device.ts";
import { caseName, drawOperands, halfForm, place, relativeError } from "../../tensor/test/operands.ts";
import { grad, requireGrad } from "../src/index.ts";
import { differentiable } from "./numeric.ts";

/** Rules are chains of a few ops, each of which rounds to 2⁻¹¹ of its result. */
const TOLERANCE = 5e-3;

const device = await testDevice("full");

const rows = differentiable.flatMap((wide) => {
  const half = halfForm(wide);
  return half ? [{ wide, half }] : [];
});

/** Gradients of the operands that have one. */
function gradients(on: Device, c: OpCase, operands: readonly NdArray[], cotangent: NdArray): Tensor[] {
  return scope(() => {
    const inputs = c.inputs.map((spec, i) => place(on, spec, operands[i]!));
    const leaves = inputs.filter((x, i) => isFloat(x.dtype) && c.inputs[i]!.differentiable !== false);
    for (const leaf of leaves) requireGrad(leaf);
    const out = apply(c.op as Op, inputs, c.attrs as OpAttrs[Op]);
    if (!isFloat(out.dtype)) return [];
    return grad(out, leaves, { gradient: tensor(on, cotangent.data, cotangent.shape, out.dtype) });
  });
}

test.runIf(device.capabilities.f16).for(rows.map((row) => [caseName(row.half), row] as const))(
  "%s",
  async ([, { wide, half }]) => {
    const operands = drawOperands(half);
    const { shape } = references[half.op]!(operands, half.attrs as never);
    const [cotangent] = drawOperands({ ...half, inputs: [{ shape, dtype: "f16" }] }) as [NdArray];
    const found = gradients(device, half, operands, cotangent);
    const expected = gradients(device, wide, operands, cotangent);
    expect(found.length).toBe(expected.length);
    for (const [i, gradient] of found.entries()) {
      const wanted = await expected[i]!.data();
      expect(gradient.dtype).toBe(half.inputs.some(({ dtype }) => dtype === "f16") ? "f16" : "f32");
      expect(relativeError([...(await gradient.data()), 0.1], [...wanted, 0.1])).toBeLessThanOrEqual(TOLERANCE);
    }
    for (const gradient of [...found, ...expected]) gradient.dispose();
  },
);
