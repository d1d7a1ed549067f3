/** Every row with its floats stored as f16, on the full tier, against the float64 reference of the same rounded operands. */
import { opCases, references } from "@refl/kernels-wgsl/testing";
import { expect, test } from "vitest";
import { apply, type Op, type OpAttrs, scope } from "../src/index.ts";
import { testDevice } from "./device.ts";
import { caseName, drawOperands, halfForm, place, relativeError } from "./operands.ts";

const rows = opCases.flatMap((c) => halfForm(c) ?? []);
const device = await testDevice("full");

test.runIf(device.capabilities.f16).for(rows.map((c) => [caseName(c), c] as const))("%s", async ([, c]) => {
  const operands = drawOperands(c);
  const expected = references[c.op]!(operands, c.attrs as never);
  const result = scope(() => {
    const inputs = c.inputs.map((spec, i) => place(device, spec, operands[i]!));
    return apply(c.op as Op, inputs, c.attrs as OpAttrs[Op]);
  });
  expect(result.shape).toEqual(expected.shape);
  const found = await result.data();
  result.dispose();
  expect(relativeError(found, expected.data)).toBeLessThanOrEqual(c.tolerance!);
});
