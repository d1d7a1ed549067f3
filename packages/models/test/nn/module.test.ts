/** Names, order, modes and initial values of modules, without a device. */
import { PhiloxStream } from "@refl/tensor";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Dropout } from "../../src/nn/dropout.ts";
import { drawInitial, fanInInit, nameHash, normalInit, onesInit } from "../../src/nn/init.ts";
import { Linear } from "../../src/nn/linear.ts";
import { Module } from "../../src/nn/module.ts";
import { currentRandom, namedStream, withRandom } from "../../src/nn/random.ts";
import { ParameterSlot } from "../../src/nn/slot.ts";

class Pair extends Module<[], void> {
  readonly left = new Linear(2, 3);
  readonly right: Linear | null = null;
  readonly own = new ParameterSlot([4], onesInit);
  protected override compute(): void {}
}

class Tree extends Module<[], void> {
  readonly net = [new Linear(1, 2, { bias: false }), new Dropout(0.5), new Pair()];
  readonly scale = new ParameterSlot([], onesInit);
  protected override compute(): void {}
}

describe("names", () => {
  test("a module's own weights come first, arrays give indices, null fields nothing", () => {
    const tree = new Tree();
    expect([...tree.shapes()]).toEqual([
      ["scale", []],
      ["net.0.weight", [2, 1]],
      ["net.2.own", [4]],
      ["net.2.left.weight", [3, 2]],
      ["net.2.left.bias", [3]],
    ]);
    expect(tree.parameterCount()).toBe(1 + 2 + 4 + 6 + 3);
    expect(tree.namedParameters().size).toBe(0);
  });

  test("paths are those in the largest model", () => {
    const tree = new Tree();
    tree.shapes();
    const pair = tree.net[2] as Pair;
    pair.shapes();
    expect([pair.path, pair.left.path, tree.path]).toEqual(["net.2", "net.2.left", ""]);
  });

  test("training and freezing reach everything below", () => {
    const tree = new Tree();
    tree.eval();
    expect([...tree.namedModules()].every(([, module]) => !module.training)).toBe(true);
    (tree.net[2] as Pair).train();
    expect([...tree.namedModules()].filter(([, module]) => module.training).map(([path]) => path)).toEqual([
      "net.2",
      "net.2.left",
    ]);
    (tree.net[2] as Pair).requiresGrad(false);
    expect([...tree.namedSlots()].filter(([, slot]) => !slot.frozen).map(([key]) => key)).toEqual([
      "scale",
      "net.0.weight",
    ]);
  });
});

describe("initial values", () => {
  test("are the stream's own numbers", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2 ** 53 - 1 }),
        fc.integer({ min: 0, max: 2 ** 32 - 1 }),
        fc.nat(9),
        (seed, number, length) => {
          const stream = new PhiloxStream(seed, number);
          const uniform = drawInitial({ kind: "uniform", bound: 2 }, [length], stream);
          const normal = drawInitial(normalInit(3), [length], stream);
          for (let i = 0; i < length; i++) {
            expect(uniform[i]).toBe(Math.fround(2 * (2 * stream.uniform(i) - 1)));
            expect(normal[i]).toBeCloseTo(3 * stream.normal(i), 5);
          }
        },
      ),
    );
  });

  test("have the distributions' deviations", () => {
    const deviationOf = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
    const stream = new PhiloxStream(1, nameHash("conv.weight"));
    expect(deviationOf(drawInitial(normalInit(0.02), [40_000], stream))).toBeCloseTo(0.02, 3);
    expect(deviationOf(drawInitial(fanInInit(12), [40_000], stream))).toBeCloseTo(1 / 6, 2);
  });

  test("names are hashed as FNV-1a does", () => {
    expect(nameHash("")).toBe(0x811c9dc5);
    expect(nameHash("a")).toBe(0xe40c292c);
    expect(nameHash("foobar")).toBe(0xbf9cf968);
  });
});

test("the random stream of a pass ends with it", () => {
  const stream = new PhiloxStream(3, 4);
  expect(withRandom(stream, () => withRandom(null, currentRandom) ?? currentRandom())).toBe(stream);
  expect(() => withRandom(stream, () => expect.fail("stop"))).toThrow("stop");
  expect(currentRandom()).toBeNull();
  expect(namedStream(stream, "a").stream).not.toBe(namedStream(new PhiloxStream(3, 5), "a").stream);
});
