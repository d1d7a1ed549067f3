/** The loss's scale by the rule of torch.amp.GradScaler, on the device alone, and the f16 copies that go with it. */
import { createDevice, type Device, DTypeError, scope, type Tensor, tensor } from "@refl/tensor";
import { nodeHost } from "@refl/tensor/node";
import { beforeAll, describe, expect, test } from "vitest";
import { testDevice } from "../../tensor/test/device.ts";
import {
  AdamW,
  backward,
  ExponentialMovingAverage,
  GradScaler,
  type GradScalerOptions,
  Parameter,
  ParameterGroup,
  requireGrad,
} from "../src/index.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

const numbers = async (t: Tensor): Promise<number[]> => [...(await t.data())];

/** Steps whose gradients are `slopes`, one by one; returns scale and good steps after each. */
async function scales(options: GradScalerOptions, slopes: readonly number[]): Promise<number[][]> {
  const weight = new Parameter(tensor(device, [1, 1]), "weight");
  const group = new ParameterGroup([["weight", weight]]);
  const scaler = new GradScaler(device, options);
  const optimizer = new AdamW(group, { scaler, maxNorm: 1 });
  const found: number[][] = [];
  for (const slope of slopes) {
    optimizer.zeroGrad();
    const loss = scope(() => weight.mul(slope).sum());
    scaler.backward(loss);
    optimizer.step();
    loss.dispose();
    found.push((await numbers(scaler.state)).slice(0, 2));
  }
  for (const thing of [scaler, optimizer, group, weight]) thing.dispose();
  return found;
}

describe("GradScaler", () => {
  test("grows after enough good steps in a row, and backs off and counts anew after a bad one", async () => {
    const bad = Number.POSITIVE_INFINITY;
    const options = { initScale: 8, growthFactor: 4, backoffFactor: 0.25, growthInterval: 2 };
    expect(await scales(options, [1, 1, 1, bad, 1, bad, 1, 1])).toEqual([
      [8, 1],
      [32, 0],
      [32, 1],
      [8, 0],
      [8, 1],
      [2, 0],
      [2, 1],
      [8, 0],
    ]);
  });

  test("never grows to infinity", async () => {
    const most = 2 ** 127;
    expect(await scales({ initScale: most, growthInterval: 1 }, [1e-30, 1e-30])).toEqual([
      [most, 0],
      [most, 0],
    ]);
  });

  test("is taken out of norm, clipping and update: any power of two gives the same weights", async () => {
    const run = async (initScale: number | null) => {
      const weight = new Parameter(tensor(device, [1, -2, 3]), "weight");
      const group = new ParameterGroup([["weight", weight]]);
      const scaler = initScale === null ? null : new GradScaler(device, { initScale });
      const optimizer = new AdamW(group, { scaler, maxNorm: 2, lr: 0.1 });
      const norms: number[] = [];
      for (let i = 0; i < 3; i++) {
        optimizer.zeroGrad();
        const loss = scope(() => weight.square().sum());
        if (scaler) scaler.backward(loss);
        else backward(loss);
        norms.push((await numbers(optimizer.step().control))[2]!);
      }
      const weights = await numbers(weight);
      for (const thing of [scaler, optimizer, group, weight]) thing?.dispose();
      return { norms, weights };
    };
    const plain = await run(null);
    for (const scale of [1, 1024, 2 ** -10]) expect(await run(scale)).toEqual(plain);
  });
});

describe.runIf((await testDevice()).capabilities.f16)("f16 copies", () => {
  test("follow updates and averages, give their gradients to the f32 values, and go with the group", async () => {
    const before = device.memory().inUse;
    const weight = new Parameter(tensor(device, [1, 2.0002, 3]), "weight");
    expect(weight.working).toBe(weight);
    const group = new ParameterGroup([["weight", weight]], { half: true });
    const average = new ExponentialMovingAverage(group);
    const optimizer = new AdamW(group, { lr: 0.5, weightDecay: 0 });
    expect(weight.working.dtype).toBe("f16");
    expect(await numbers(weight.working)).toEqual([1, 2, 3]);
    const loss = scope(() => weight.working.mul(2).to("f32").sum());
    backward(loss);
    loss.dispose();
    expect(weight.grad!.dtype).toBe("f32");
    expect(await numbers(weight.grad!)).toEqual([2, 2, 2]);
    optimizer.step();
    const updated = await numbers(weight);
    expect(updated[1]).toBeCloseTo(1.5002, 6);
    expect(await numbers(weight.working)).toEqual([0.5, 1.5, 2.5]);
    average.swapIn();
    expect(await numbers(weight.working)).toEqual([1, 2, 3]);
    average.restore();
    expect(await numbers(weight.working)).toEqual([0.5, 1.5, 2.5]);
    weight.requiresGrad = false;
    expect(weight.working.history).toBeNull();
    weight.requiresGrad = true;
    expect(weight.working.history).toBe(weight.leaf);
    for (const thing of [average, optimizer, group]) thing.dispose();
    expect(weight.working).toBe(weight);
    expect(weight.leaf.orphan).toBe(false);
    weight.dispose();
    expect(device.memory().inUse).toBe(before);
  });

  test("are refused for bare tensors", () => {
    const bare = requireGrad(tensor(device, [1]));
    expect(() => new ParameterGroup([["bare", bare]], { half: true })).toThrow(/bare is a bare tensor/);
    bare.dispose();
  });
});

test("f16 copies are refused on a device without f16", async () => {
  const portable = await createDevice({ host: nodeHost(), tier: "portable" });
  const weight = new Parameter(tensor(portable, [1]), "weight");
  expect(() => new ParameterGroup([["weight", weight]], { half: true })).toThrow(DTypeError);
  portable.dispose();
});
