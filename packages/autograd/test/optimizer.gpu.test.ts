/** Packed groups, optimiser steps over several slabs, refusal of non-finite gradients, and the moving average of weights. */
import { createDevice, type Device, DTypeError, ones, scope, type Tensor, tensor } from "@refl/tensor";
import { nodeHost } from "@refl/tensor/node";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { testDevice } from "../../tensor/test/device.ts";
import {
  Adam,
  AdamW,
  backward,
  ExponentialMovingAverage,
  emaDecay,
  Parameter,
  ParameterGroup,
  requireGrad,
  zeroGrad,
} from "../src/index.ts";
import { distance, wave } from "./read.ts";

let device: Device;
let before: number;
beforeAll(async () => {
  device = await testDevice();
});
beforeEach(() => {
  before = device.memory().storages;
});
afterEach(() => expect(device.memory().storages).toBe(before));

type Shapes = Readonly<Record<string, number[]>>;

const SHAPES: Shapes = { a: [3, 4], b: [5], big: [40, 9], c: [1], d: [7, 3] };

function make(shapes: Shapes = SHAPES): [name: string, parameter: Parameter][] {
  return Object.entries(shapes).map(([name, shape], i) => {
    const count = shape.reduce((x, y) => x * y, 1);
    return [name, new Parameter(tensor(device, wave(count, i), shape), name)];
  });
}

/** Adds to the gradient of each parameter the parameter itself: the loss is half the sum of squares. */
const backwardOf = (named: [string, Tensor][]): void =>
  scope(() => backward(named.map(([, p]) => p.square().sum().mul(0.5)).reduce((sum, term) => sum.add(term))));

const valuesOf = (tensors: Iterable<Tensor>): Promise<number[][]> =>
  Promise.all(Array.from(tensors, async (t) => Array.from(await t.data())));

const parametersOf = (named: [string, Tensor][]): Tensor[] => named.map(([, p]) => p);

function disposeAll(...things: Iterable<{ dispose(): void }>[]): void {
  for (const list of things) for (const thing of list) thing.dispose();
}

describe("ParameterGroup", () => {
  test("packed parameters keep their values, work in ops and gather gradients in place", async () => {
    const named = make();
    const values = await valuesOf(parametersOf(named));
    backwardOf(named);
    const gradients = await valuesOf(named.map(([, p]) => p.grad!));
    const group = new ParameterGroup(named);
    expect(named.map(([, p]) => p.grad)).toEqual(named.map(() => null));
    expect(await valuesOf(parametersOf(named))).toEqual(values);
    backwardOf(named);
    expect(await valuesOf(named.map(([, p]) => p.grad!))).toEqual(gradients);
    backwardOf(named);
    expect(await valuesOf(named.map(([, p]) => p.grad!))).toEqual(gradients.map((g) => g.map((v) => 2 * v)));
    group.zeroGrad();
    expect(named.map(([, p]) => p.grad)).toEqual(named.map(() => null));
    backwardOf(named);
    expect(await valuesOf(named.map(([, p]) => p.grad!))).toEqual(gradients);
    zeroGrad(parametersOf(named));
    named[0]![1].fill_(3);
    const flat = await group.slabs[0]!.values.data();
    expect(Array.from(flat.slice(0, 13))).toEqual([...new Array(12).fill(3), 0]);
    group.dispose();
    disposeAll(parametersOf(named));
  });

  test("no slab exceeds what the device binds", async () => {
    const narrow = await createDevice({ host: nodeHost(), largestBinding: 2048 });
    const named = ["a", "b", "c"].map((name): [string, Parameter] => [name, new Parameter(ones(narrow, [250]), name)]);
    expect(new ParameterGroup(named).slabs.map(({ count }) => count)).toEqual([512, 256]);
    narrow.dispose();
  });

  test("slabs are as large as allowed, and a larger parameter has one of its own", () => {
    const named = make();
    const group = new ParameterGroup(named, { slabBytes: 512 });
    expect(group.slabs.map((s) => s.count)).toEqual([128, 384, 128]);
    expect(group.entries.map(({ name, slab, offset }) => [name, slab, offset])).toEqual([
      ["a", 0, 0],
      ["b", 0, 64],
      ["big", 1, 0],
      ["c", 2, 0],
      ["d", 2, 64],
    ]);
    group.dispose();
    disposeAll(parametersOf(named));
  });

  test("a parameter that is frozen for a while comes back to its place", async () => {
    const named = make({ a: [3], b: [2] });
    const group = new ParameterGroup(named);
    const a = named[0]![1];
    a.requiresGrad = false;
    backwardOf(named);
    expect(Array.from((await group.slabs[0]!.gradients.data()).slice(0, 3))).toEqual([0, 0, 0]);
    a.requiresGrad = true;
    backwardOf(named);
    expect(Array.from((await group.slabs[0]!.gradients.data()).slice(0, 3))).toEqual(Array.from(await a.grad!.data()));
    a.requiresGrad = false;
    group.dispose();
    disposeAll(parametersOf(named));
  });

  test("frozen parameters are left out; what cannot be packed is refused", () => {
    const named = make({ a: [3], b: [2] });
    const [a, b] = parametersOf(named) as [Parameter, Parameter];
    a.requiresGrad = false;
    const group = new ParameterGroup(named);
    expect(group.entries.map((e) => e.name)).toEqual(["b"]);
    expect(() => new ParameterGroup([["b", b]])).toThrow(/another group/);
    group.dispose();
    a.requiresGrad = true;
    expect(
      () =>
        new ParameterGroup([
          ["a", a],
          ["again", a],
        ]),
    ).toThrow(/twice/);
    expect(
      () =>
        new ParameterGroup([
          ["a", a],
          ["a", b],
        ]),
    ).toThrow(/twice/);
    expect(() => new ParameterGroup([])).toThrow(/at least one/);
    const constant = tensor(device, [1]);
    expect(() => new ParameterGroup([["constant", constant]])).toThrow(/at least one/);
    if (device.capabilities.f16) {
      const half = new Parameter(tensor(device, [1, 2], [2], "f16"));
      expect(() => new ParameterGroup([["half", half]])).toThrow(DTypeError);
      half.dispose();
    }
    disposeAll([a, b, constant]);
  });

  test("any leaf can be packed, and again after the group has gone", async () => {
    const x = requireGrad(tensor(device, [1, 2]));
    for (let i = 0; i < 2; i++) {
      const group = new ParameterGroup([["x", x]]);
      backwardOf([["x", x]]);
      expect(Array.from((await group.slabs[0]!.gradients.data()).slice(0, 2))).toEqual([1, 2]);
      group.dispose();
    }
    backwardOf([["x", x]]);
    expect(await valuesOf([x])).toEqual([[1, 2]]);
    x.dispose();
  });
});

describe("Adam and AdamW", () => {
  /** Weights and moments after three clipped steps. */
  async function train(Optimizer: typeof Adam | typeof AdamW, slabBytes: number): Promise<number[][]> {
    const named = make();
    const group = new ParameterGroup(named, { slabBytes });
    const optimizer = new Optimizer(group, { lr: 0.1, weightDecay: 0.1, maxNorm: 2 });
    const norms: number[] = [];
    for (let step = 0; step < 3; step++) {
      optimizer.zeroGrad();
      backwardOf(named);
      norms.push((await optimizer.step().control.data())[2]!);
    }
    const state = [...optimizer.state().values()];
    const values = await valuesOf([...parametersOf(named), ...state]);
    optimizer.dispose();
    group.dispose();
    disposeAll(state, parametersOf(named));
    return [...values, norms];
  }

  test.each([Adam, AdamW])("one slab or many: the same weights, moments and norms (%o)", async (Optimizer) => {
    const one = await train(Optimizer, 1 << 20);
    const many = await train(Optimizer, 256);
    // Weights and moments depend on the slabs only through the norm, whose partial sums are taken in another order.
    one.forEach((values, i) => {
      expect(distance(many[i]!, values)).toBeLessThanOrEqual(
        1e-6 *
          Math.max(
            1,
            distance(
              values,
              values.map(() => 0),
            ),
          ),
      );
    });
  });

  test("without clipping the number of slabs changes no bit", async () => {
    const run = async (slabBytes: number): Promise<number[][]> => {
      const named = make();
      const group = new ParameterGroup(named, { slabBytes });
      const optimizer = new AdamW(group, { lr: 0.1 });
      for (let step = 0; step < 3; step++) {
        optimizer.zeroGrad();
        backwardOf(named);
        optimizer.step();
      }
      const values = await valuesOf(parametersOf(named));
      optimizer.dispose();
      group.dispose();
      disposeAll(parametersOf(named));
      return values;
    };
    expect(await run(256)).toEqual(await run(1 << 20));
  });

  test.each([
    ["NaN", Number.NaN],
    ["infinity", Number.POSITIVE_INFINITY],
    ["minus infinity", Number.NEGATIVE_INFINITY],
    ["an overflow of the norm", 1e25],
  ])("%s in one slab's gradient: nothing is written, and the next step goes on", async (_, bad) => {
    const named = make();
    const group = new ParameterGroup(named, { slabBytes: 512 });
    const optimizer = new AdamW(group, { lr: 0.1 });
    backwardOf(named);
    expect((await optimizer.step().control.data())[1]).toBe(1);
    const state = [...optimizer.state().values()];
    const all = [...parametersOf(named), ...state];
    const held = await valuesOf(all);
    const last = group.slabs.at(-1)!.gradients;
    const place = last.view([1], [1], 70);
    place.fill_(bad);
    expect((await optimizer.step().control.data())[1]).toBe(0);
    expect(await valuesOf(all)).toEqual(held);
    optimizer.zeroGrad();
    backwardOf(named);
    expect((await optimizer.step().control.data())[1]).toBe(1);
    expect(await valuesOf(all)).not.toEqual(held);
    optimizer.dispose();
    group.dispose();
    disposeAll(state, parametersOf(named), [place]);
  });

  test("the state's views are the moments, by name", async () => {
    const named = make();
    const group = new ParameterGroup(named, { slabBytes: 512 });
    const optimizer = new AdamW(group, { betas: [0.9, 0.999] });
    backwardOf(named);
    const gradients = await valuesOf(named.map(([, p]) => p.grad!));
    optimizer.step();
    const state = optimizer.state();
    expect([...state.keys()].sort()).toEqual(
      Object.keys(SHAPES)
        .flatMap((k) => [`exp_avg.${k}`, `exp_avg_sq.${k}`])
        .sort(),
    );
    const first = await valuesOf([...named.map(([name]) => state.get(`exp_avg.${name}`)!)]);
    expect(
      distance(
        first.flat(),
        gradients.flat().map((g) => 0.1 * g),
      ),
    ).toBeLessThanOrEqual(1e-6);
    optimizer.dispose();
    group.dispose();
    disposeAll(state.values(), parametersOf(named));
  });

  test("a changed learning rate counts from the next step on", async () => {
    const [entry] = make({ a: [4] });
    const group = new ParameterGroup([entry!]);
    const optimizer = new Adam(group, { lr: 0 });
    backwardOf([entry!]);
    const start = await valuesOf([entry![1]]);
    optimizer.step();
    expect(await valuesOf([entry![1]])).toEqual(start);
    optimizer.options.lr = 0.5;
    optimizer.step();
    expect(await valuesOf([entry![1]])).not.toEqual(start);
    optimizer.dispose();
    group.dispose();
    entry![1].dispose();
  });
});

describe("moving average", () => {
  test("follows e + (1 − decay)(w − e), and changes places with the weights", async () => {
    const named = make();
    const group = new ParameterGroup(named, { slabBytes: 512 });
    const optimizer = new AdamW(group, { lr: 0.1 });
    const average = new ExponentialMovingAverage(group);
    let expected = await valuesOf(parametersOf(named));
    for (const decay of [0, 0.3, 0.9]) {
      optimizer.zeroGrad();
      backwardOf(named);
      optimizer.step();
      average.update(decay);
      const weights = await valuesOf(parametersOf(named));
      expected = expected.map((e, i) => e.map((v, j) => v + (1 - decay) * (weights[i]![j]! - v)));
    }
    const state = average.state();
    const found = await valuesOf(state.values());
    expect([...state.keys()]).toEqual(Object.keys(SHAPES));
    expect(distance(found.flat(), expected.flat())).toBeLessThanOrEqual(1e-6);

    const weights = await valuesOf(parametersOf(named));
    expect(() => average.restore()).toThrow(TypeError);
    average.swapIn();
    expect(await valuesOf(parametersOf(named))).toEqual(found);
    expect(() => average.swapIn()).toThrow(TypeError);
    average.restore();
    expect(await valuesOf(parametersOf(named))).toEqual(weights);
    average.swapIn();
    average.dispose();
    optimizer.dispose();
    group.dispose();
    disposeAll(state.values(), parametersOf(named));
  });

  test("emaDecay warms up as diffusers' EMAModel.get_decay", () => {
    // optimization_step counts from 1; step = optimization_step − 1; 0 at step 0, then (1 + step) / (10 + step) up to the limit.
    const diffusers = (optimizationStep: number, limit: number): number => {
      const step = Math.max(0, optimizationStep - 1);
      return step <= 0 ? 0 : Math.min((1 + step) / (10 + step), limit);
    };
    for (const limit of [0.999, 0.9999, 0.5]) {
      for (const step of [0, 1, 2, 3, 10, 100, 10_000, 1_000_000])
        expect(emaDecay(step, limit)).toBe(diffusers(step, limit));
    }
    expect(emaDecay(1, 0.999)).toBe(0);
    expect(emaDecay(2, 0.999)).toBe(2 / 11);
    expect(emaDecay(1e7, 0.999)).toBe(0.999);
  });
});
