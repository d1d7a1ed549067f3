/** Every rule against central differences of the float64 reference, over all case tables. */
import type { Op } from "@refl/tensor";
import { expect, test } from "vitest";
import { testDevice } from "../../tensor/test/device.ts";
import { caseName } from "../../tensor/test/operands.ts";
import { rules } from "../src/rules/index.ts";
import { differentiable, gradientErrors } from "./numeric.ts";

test("every rule is checked, or the op has none", () => {
  const covered = new Set(differentiable.map((c) => c.op));
  expect(Object.keys(rules).filter((op) => rules[op as Op] !== null && !covered.has(op))).toEqual([]);
});

for (const tier of ["full", "portable"] as const) {
  test.for(differentiable.map((c) => [caseName(c), c] as const))(`${tier} %s`, async ([, c]) => {
    const device = await testDevice(tier);
    const check = async (): Promise<number> => {
      const before = device.memory().storages;
      for (const [operand, error] of await gradientErrors(device, c)) {
        expect(error, `operand ${operand}`).toBeLessThanOrEqual(c.tolerance ?? 1e-5);
      }
      return device.memory().storages - before;
    };
    // The first run may fill a cache of the device, such as resize's weight tables; a second run must leave nothing.
    if ((await check()) !== 0) expect(await check()).toBe(0);
  });
}
