/** Every elementwise op on the integer types of its domain, and its refusal of the others. */
import { elementwiseOps } from "@refl/kernels-wgsl";
import { expect, test } from "vitest";
import { apply, type DType, DTypeError, type Op, tensor } from "../src/index.ts";
import { testDevice } from "./device.ts";

const TYPES: Readonly<Record<string, readonly DType[]>> = {
  any: ["i32", "u32", "bool"],
  number: ["i32", "u32"],
  signed: ["i32"],
  float: [],
};

/** Operands whose differences and products stay in every type's range. */
const OPERANDS: Readonly<Record<string, readonly (readonly number[])[]>> = {
  i32: [
    [-7, 0, 3, 9, 2],
    [4, -2, 3, 0, -8],
    [1, 2, -3, 4, 5],
  ],
  u32: [
    [7, 9, 3, 4000000000, 2],
    [4, 2, 3, 0, 1],
    [1, 2, 3, 4, 5],
  ],
  bool: [
    [1, 0, 1, 0, 0],
    [1, 1, 0, 0, 1],
    [0, 1, 1, 0, 1],
  ],
};

const device = await testDevice("portable");

for (const [name, op] of Object.entries(elementwiseOps)) {
  for (const dtype of ["i32", "u32", "bool"] as const) {
    const fits = TYPES[op.domain]!.includes(dtype);
    test(`${name} ${fits ? "takes" : "refuses"} ${dtype}`, async () => {
      const operands = OPERANDS[dtype]!.slice(0, op.arity);
      const run = () =>
        apply(
          name as Op,
          operands.map((values) => tensor(device, values, [5], dtype)),
          {} as never,
        );
      if (!fits) {
        expect(run).toThrow(DTypeError);
        return;
      }
      const wrap = (x: number): number => (dtype === "u32" ? x >>> 0 : x);
      const [x, y, z] = [0, 1, 2].map((k) => operands[k] ?? [0, 0, 0, 0, 0]);
      const expected = x!.map((v, i) => wrap(op.reference(v, y![i]!, z![i]!, 0)));
      expect(Array.from(await run().data(), (v) => v + 0)).toEqual(expected.map((v) => v + 0));
    });
  }
}
