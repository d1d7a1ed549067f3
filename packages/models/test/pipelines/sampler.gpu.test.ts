/** Runs of schedulers over tensors, guidance against PyTorch, and pictures from PyTorch's noise. */
import { noGrad } from "@refl/autograd";
import { DataError, type Device, scope, type Tensor, tensor } from "@refl/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { guide } from "../../src/pipelines/guidance.ts";
import { noiseSource } from "../../src/pipelines/noise-source.ts";
import { Sampler, singleStepScheduler } from "../../src/pipelines/sampler.ts";
import { TorchGenerator, torchRandn } from "../../src/pipelines/torch-random.ts";
import { DDIMScheduler } from "../../src/schedulers/ddim.ts";
import { DDPMScheduler } from "../../src/schedulers/ddpm.ts";
import { PNDMScheduler } from "../../src/schedulers/pndm.ts";
import { deviation, Golden, goldenConfig } from "../models/golden.ts";

const SD = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear", clip_sample: false };

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

async function values(fn: () => Tensor): Promise<Float32Array> {
  const made = noGrad(() => scope(fn));
  try {
    return (await made.data()) as Float32Array;
  } finally {
    made.dispose();
  }
}

/** A run with a model that knows the picture (all 0.5), from x = 1. */
async function run(sampler: Sampler, schedule: DDIMScheduler | PNDMScheduler): Promise<number> {
  let x = tensor(device, [1], [1]);
  for (const [i, t] of sampler.timesteps.entries()) {
    const [signal, sigma] = schedule.addNoiseCoefficients(t);
    const out = scope(() =>
      x
        .sub(0.5 * signal)
        .div(sigma)
        .alias(),
    );
    const next = sampler.advance(i, x, out);
    x.dispose();
    out.dispose();
    x = next;
  }
  const [value] = await x.data();
  x.dispose();
  return value as number;
}

describe("Sampler", () => {
  test.each([true, false])(
    "PNDM with skip_prk_steps %s reaches the picture that DDIM reaches, and keeps nothing",
    async (skip) => {
      const before = device.memory().storages;
      const pndm = new PNDMScheduler({ ...SD, skip_prk_steps: skip });
      const ddim = new DDIMScheduler({ ...SD, set_alpha_to_one: false });
      const sampler = new Sampler(pndm, 20);
      expect(sampler.timesteps.length).toBe(skip ? 21 : 29);
      const multistep = await run(sampler, pndm);
      const single = await run(new Sampler(ddim, 20), ddim);
      expect(Math.abs(multistep - single)).toBeLessThan(0.02);
      expect(device.memory().storages).toBe(before);
    },
  );

  test("gives back what a broken-off run keeps, and wants calls in order", () => {
    const before = device.memory().storages;
    const sampler = new Sampler(new PNDMScheduler({ ...SD, skip_prk_steps: true }), 10);
    const x = tensor(device, [1], [1]);
    sampler.advance(0, x, x).dispose();
    expect(() => sampler.advance(2, x, x)).toThrow(DataError);
    x.dispose();
    expect(device.memory().storages).toBe(before + 1);
    sampler.dispose();
    expect(device.memory().storages).toBe(before);
    expect(() => new Sampler(new PNDMScheduler(SD), 10, 0.5)).toThrow(/adds no noise/);
  });

  test("PNDM's schedule is trained through as DDPM", () => {
    const pndm = new PNDMScheduler({ ...SD, steps_offset: 1, skip_prk_steps: true });
    const single = singleStepScheduler(pndm);
    expect(single).toBeInstanceOf(DDPMScheduler);
    expect(single.setTimesteps(40)[0]).toBe(976);
    expect(singleStepScheduler(single)).toBe(single);
  });
});

describe("guidance", () => {
  test("equals PyTorch's, rescaled and not", async () => {
    const golden = await Golden.open("guidance");
    const { scale, rescale } = goldenConfig("guidance") as { scale: number; rescale: number };
    const at = (key: string) => golden.tensor(device, key);
    const plain = await values(() => guide(at("input.uncond"), at("input.cond"), { scale }));
    const rescaled = await values(() => guide(at("input.uncond"), at("input.cond"), { scale, rescale }));
    expect(deviation(plain, golden.values("output.guided"))).toBeLessThan(1e-6);
    expect(deviation(rescaled, golden.values("output.rescaled"))).toBeLessThan(2e-6);
    scope(() => expect(() => guide(at("input.cond"), at("input.cond"), { scale, rescale: 2 })).toThrow(DataError));
  });
});

describe("noise as PyTorch draws it", () => {
  test("is one generator's for one seed, and each picture's own for a list", async () => {
    const shape = [2, 1, 4, 5];
    const one = noiseSource("torch-cpu", 9, device, shape);
    const generator = new TorchGenerator(9);
    for (const draw of [0, 1]) expect(await values(() => one(draw))).toEqual(generator.randn(shape));
    const each = noiseSource("torch-cpu", [3, { seed: 4 }], device, shape);
    const expected = [...torchRandn(3, [1, 1, 4, 5]), ...torchRandn(4, [1, 1, 4, 5])];
    expect([...(await values(() => each(0)))]).toEqual(expected);
    expect(() => noiseSource("torch-cpu", [{ seed: 3, index: 1 }], device, [1, 2])).toThrow(/seed of its own/);
  });
});
