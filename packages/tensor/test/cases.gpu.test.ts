/** Every row of every op's case table, on the full and the portable tier, against the float64 reference. */
import { drawOperand, opCases, references } from "@refl/kernels-wgsl/testing";
import { describe, expect, test } from "vitest";
import { apply, type Op, type OpAttrs, opNames, scope } from "../src/index.ts";
import { testDevice } from "./device.ts";
import { caseName, place, relativeError } from "./operands.ts";

test("every op has a reference and at least one case", () => {
  const names = opNames();
  expect(names.filter((op) => !(op in references))).toEqual([]);
  expect(names.filter((op) => !opCases.some((c) => c.op === op))).toEqual([]);
  expect(opCases.map((c) => c.op).filter((op) => !names.includes(op as Op))).toEqual([]);
});

for (const tier of ["full", "portable"] as const) {
  describe(`${tier} tier`, () => {
    test.for(opCases.map((c) => [caseName(c), c] as const))("%s", async ([, c]) => {
      const device = await testDevice(tier);
      const operands = c.inputs.map((spec, i) => drawOperand(spec, 17 * i + 3));
      const expected = references[c.op]!(operands, c.attrs as never);
      const check = async (): Promise<number> => {
        const before = device.memory().storages;
        const result = scope(() => {
          const inputs = c.inputs.map((spec, i) => place(device, spec, operands[i]!));
          return apply(c.op as Op, inputs, c.attrs as OpAttrs[Op]);
        });
        expect(result.shape).toEqual(expected.shape);
        const found = await result.data();
        result.dispose();
        expect(relativeError(found, expected.data)).toBeLessThanOrEqual(c.tolerance ?? 1e-5);
        return device.memory().storages - before;
      };
      // The first run may fill a cache of the device, such as resize's weight tables; a second run must leave nothing.
      if ((await check()) !== 0) expect(await check()).toBe(0);
    });
  });
}
