/** gradcheck() passes for right rules, of layers and of users, and names the input of a wrong one. */
import { AutogradError, type Device, ShapeError, scope, softmax, type Tensor, tensor } from "@refl/tensor";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { testDevice } from "../../tensor/test/device.ts";
import { checkpoint, gradcheck, noGrad, recordNode } from "../src/index.ts";
import { wave } from "./read.ts";

let device: Device;
let before: number;
beforeAll(async () => {
  device = await testDevice();
});
beforeEach(() => {
  before = device.memory().storages;
});
afterEach(() => expect(device.memory().storages).toBe(before));

const input = (shape: number[], phase = 0): Tensor =>
  tensor(
    device,
    wave(
      shape.reduce((a, b) => a * b, 1),
      phase,
    ),
    shape,
  );

/** exp with a rule of its own, whose slope is off by `factor`. */
function customExp(x: Tensor, factor: number, shift = 0): Tensor {
  const y = noGrad(() => x.exp());
  return recordNode("customExp", [x], y, [y.alias()], (g) => [
    g
      .mul(noGrad(() => x.exp()))
      .mul(factor)
      .add(shift),
  ]);
}

async function check(fn: (...inputs: Tensor[]) => Tensor, inputs: Tensor[], options = {}): Promise<number> {
  try {
    return await gradcheck(fn, inputs, options);
  } finally {
    for (const t of inputs) t.dispose();
  }
}

test("right rules pass", async () => {
  const layer = (x: Tensor, w: Tensor, b: Tensor): Tensor => softmax(x.linear(w, b, "gelu"), -1);
  expect(await check(layer, [input([4, 5]), input([6, 5], 1), input([6], 2)])).toBeLessThan(1e-4);
  expect(await check((x) => customExp(x, 1), [input([3, 3])])).toBeLessThan(1e-4);
  expect(await check((x) => checkpoint((t) => t.tanh().square(), x.exp()), [input([7])])).toBeLessThan(1e-4);
});

test("strided inputs, inputs of other types and gradients that are zero in theory pass", async () => {
  const base = input([4, 3]);
  const ids = tensor(device, [2, 0], [2], "i32");
  const fn = (x: Tensor, which: Tensor): Tensor => x.exp().mul(which.eq(0).to("f32").reshape(2, 1));
  await check(fn, [scope(() => base.transpose(0, 1).slice(0, 0, 2)), ids]);
  base.dispose();
  // softmax ignores a shift of all its scores.
  await check((x, shift) => softmax(x.add(shift), -1), [input([3, 4]), input([3, 1])]);
});

test.each([
  ["a factor of 1 %", 1.01, 0],
  ["a sign", -1, 0],
  ["no gradient", 0, 0],
  ["a constant too many", 1, 0.1],
  ["NaN", Number.NaN, 0],
])("a rule that is wrong by %s fails", async (_, factor, shift) => {
  const rejected = expect(
    check((a, x) => a.add(customExp(x, factor, shift)), [input([3, 3]), input([3, 3], 1)]),
  ).rejects;
  await rejected.toThrow(/input 1 of shape \[3, 3\].*error/);
});

test("the tolerance and the seed are the caller's", async () => {
  const run = (options: object): Promise<number> => check((x) => customExp(x, 1.01), [input([3, 3])], options);
  const error = await run({ tolerance: 0.1 });
  expect(error).toBeGreaterThan(1e-3);
  expect(await run({ tolerance: 0.1 })).toBe(error);
  expect(await run({ tolerance: 0.1, seed: 5 })).not.toBe(error);
});

test("what cannot be checked is refused", async () => {
  await expect(check((x) => x, [tensor(device, [1], [1], "i32")])).rejects.toThrow(AutogradError);
  await expect(check((x) => x.gt(0), [input([2])])).rejects.toThrow(/bool/);
  let calls = 0;
  const changing = (x: Tensor): Tensor => x.slice(0, 0, 3 - Math.min(1, calls++));
  await expect(check(changing, [input([3])])).rejects.toThrow(ShapeError);
  scope(() => expect(() => customExp(input([2]), 1)).not.toThrow());
});
