/** Sampling and scoring with small untrained models: records that draw the same pixels again, unknown words, sizes, and refusals. */
import { BlipRewardModel, type ModelFolder, memoryFolder, type WritableModelFolder } from "@refl/models";
import { createDevice, DataError, type Device } from "@refl/tensor";
import { nodeHost } from "@refl/tensor/node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  firstPlanes,
  golden,
  config as goldenModel,
  saveGoldenModel,
} from "../../../models/test/pipelines/golden-model.ts";
import { rankConfig, resolveConfig, sampleConfig, sampleSource, scoreConfig } from "../../src/config/index.ts";
import { plainSource } from "../../src/config/source.ts";
import { planesToBytes } from "../../src/data/pixels.ts";
import { shapes16 } from "../../src/data/shapes16.ts";
import type { Run, RunEvent } from "../../src/events.ts";
import type { JobContext } from "../../src/jobs/context.ts";
import { runSample } from "../../src/jobs/sample.ts";
import { runRank, runScore, type ScoredInput } from "../../src/jobs/score.ts";
import { newPipeline, saveRewardModel, taskTokenizer } from "../../src/models.ts";
import { modelPreset } from "../../src/presets.ts";
import { ImageReward } from "../../src/scorers/image-reward.ts";

let device: Device;
const folders = new Map<string, ModelFolder>();
beforeAll(async () => {
  device = await createDevice({ host: nodeHost() });
  const base = memoryFolder(new Map(), "base");
  const pipeline = newPipeline(shapes16, device, 1);
  await pipeline.save(base);
  pipeline.dispose();
  folders.set("base", base);
  const tokenizer = taskTokenizer(shapes16);
  const preset = modelPreset(shapes16, tokenizer.vocabSize);
  const model = new BlipRewardModel({ ...preset.blip, ...preset.rewardHead }).initialize(device, 1);
  const reward = memoryFolder(new Map(), "reward");
  await saveRewardModel(new ImageReward(device, model, tokenizer), reward);
  model.dispose();
  folders.set("reward", reward);
});
afterAll(() => device.dispose());

const context = (signal?: AbortSignal): JobContext => ({
  device,
  sink: null,
  open: async (path) => folders.get(path)!,
  shipped: async () => {
    throw new Error("no shipped model is asked for");
  },
  ...(signal ? { signal } : {}),
});

async function finish<Result>(run: Run<Result>): Promise<{ result: Result; events: RunEvent[] }> {
  const events: RunEvent[] = [];
  for (;;) {
    const next = await run.next();
    if (next.done) return { result: next.value, events };
    events.push(next.value);
  }
}

const sampling = (values: Record<string, unknown>) =>
  resolveConfig(sampleConfig, [plainSource({ task: "shapes16", model: "base", samplerSteps: 2, ...values }, "test")]);

describe("runSample", () => {
  it("draws pictures whose records draw them again, alone and in any batch", async () => {
    const prompts = ["a big red circle on a blue background", "small green square, white background"];
    const { result, events } = await finish(runSample(sampling({ prompts, count: 3, seed: 5, index: 2 }), context()));
    expect(result.map(({ record }) => record.index)).toEqual([2, 3, 4, 2, 3, 4]);
    expect(new Set(result.map(({ image }) => image.rgb.join())).size).toBe(6);
    const grid = events.find((event) => event.type === "samples");
    expect(grid?.type === "samples" && grid.grid.columns).toBe(3);
    const { record, image } = result[4]!;
    const again = resolveConfig(sampleConfig, [
      sampleSource(record, "a.png"),
      plainSource({ task: "shapes16" }, "test"),
    ]);
    expect((await finish(runSample(again, context()))).result).toEqual([{ record, image }]);
  });

  it("gives other pictures with the other sampler", async () => {
    const draw = async (sampler: string) =>
      (await finish(runSample(sampling({ prompts: ["a big red circle"], count: 1, sampler }), context()))).result[0]!;
    const [ddim, ddpm] = [await draw("ddim"), await draw("ddpm")];
    expect(ddpm.record.sampler).toBe("ddpm");
    expect(ddpm.image.rgb).not.toEqual(ddim.image.rgb);
  });

  it("warns of unknown words once, refuses no prompts, gives all memory back, and stops when asked", async () => {
    const before = device.memory().inUse;
    const { events } = await finish(
      runSample(sampling({ prompts: ["a zebra", "a zebra and a big qux"], count: 1 }), context()),
    );
    const warnings = events.filter((event) => event.type === "warning");
    expect(warnings).toHaveLength(1);
    expect(JSON.stringify(warnings)).toMatch(/zebra.*qux/);
    await expect(finish(runSample(sampling({ prompts: [] }), context()))).rejects.toThrow(DataError);
    const aborted = await finish(runSample(sampling({ prompts: ["a big red circle"] }), context(AbortSignal.abort())));
    expect(aborted.result).toEqual([]);
    expect(device.memory().inUse).toBe(before);
  });
});

describe("runSample with a Stable Diffusion shaped folder", () => {
  const stable = (values: Record<string, unknown>) =>
    resolveConfig(sampleConfig, [plainSource({ model: "stable", count: 1, ...values }, "test")]);
  const init = {
    width: 16,
    height: 16,
    rgb: planesToBytes(Float32Array.from(firstPlanes()), 256),
  };
  beforeAll(async () => {
    const [whole, tiny] = ["stable", "tiny"].map((name) => memoryFolder(new Map(), name)) as [
      WritableModelFolder,
      WritableModelFolder,
    ];
    await saveGoldenModel(device, whole);
    await saveGoldenModel(device, tiny, "tiny");
    folders.set("stable", whole);
    folders.set("tiny", tiny);
  });

  /** Largest difference from the golden picture `k` of a case, in 255ths. */
  const worst = (name: string, k: number, rgb: Uint8Array): number => {
    const expected = planesToBytes(golden.values(`output.${name}`), 256, k * 3 * 256);
    return rgb.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);
  };

  it("draws diffusers' pictures for their seeds, and records how", async () => {
    const before = device.memory().inUse;
    const { steps, guidance, strength, negative } = goldenModel.cases["img2img_pndm"]!;
    const values = { noise: "torch-cpu", samplerSteps: steps, guidance, negativePrompt: negative };
    const from = { ...values, initImage: "first.png", strength };
    for (const [k, prompt] of goldenModel.prompts.entries()) {
      const config = stable({ ...from, prompts: [prompt], seed: 4, index: k + 1 });
      const { image, record } = (await finish(runSample(config, context(), init))).result[0]!;
      // The picture begins as bytes here, as eighths there.
      expect(worst("img2img_pndm", k, image.rgb)).toBeLessThanOrEqual(1);
      expect(record).toMatchObject({ sampler: "pndm", noise: "torch-cpu", seed: 5 + k, index: 0, strength });
      const again = resolveConfig(sampleConfig, [sampleSource(record, "a.png")]);
      expect((await finish(runSample(again, context(), init))).result).toEqual([{ image, record }]);
    }
    const odd = await finish(
      runSample(stable({ ...from, prompts: ["dog"] }), context(), { ...init, height: 15, rgb: init.rgb.slice(0, 720) }),
    );
    expect(odd.result[0]!.image).toMatchObject({ width: 16, height: 12 });
    expect(device.memory().inUse).toBe(before);
  });

  it("takes the folder's sampler, steps and guidance that are usual for it, sizes, and another autoencoder", async () => {
    const draw = async (values: Record<string, unknown>) =>
      (await finish(runSample(stable({ prompts: ["cat"], samplerSteps: 2, ...values }), context()))).result;
    const [plain] = await draw({});
    expect(plain!.record).toMatchObject({ sampler: "pndm", guidance: 7.5, width: 16, height: 16 });
    expect(plain!.record).not.toHaveProperty("eta");
    const [wide] = await draw({ width: 24, height: 12, sampler: "ddim", eta: 1, guidanceRescale: 0.5 });
    expect(wide!.image.rgb).toHaveLength(24 * 12 * 3);
    expect(wide!.record).toMatchObject({ sampler: "ddim", eta: 1, guidanceRescale: 0.5, width: 24, height: 12 });
    const [other] = await draw({ vae: "tiny" });
    expect(other!.image.rgb).not.toEqual(plain!.image.rgb);
    const alone = await draw({ count: 3, batchSize: 1 });
    const together = await draw({ count: 3 });
    for (const [i, { image }] of together.entries())
      expect(Math.max(...image.rgb.map((value, at) => Math.abs(value - alone[i]!.image.rgb[at]!)))).toBeLessThanOrEqual(
        1,
      );
    await expect(draw({ width: 15 })).rejects.toThrow(/16 x 15 pixels; both must be multiples of 4/);
    await expect(draw({ eta: 0.5 })).rejects.toThrow(/eta: 0\.5 with PNDM/);
  });
});

describe("runScore and runRank", () => {
  const picture = (file: string, prompts: string[], width: number, height: number): ScoredInput => ({
    file,
    prompts,
    read: () => ({ width, height, rgb: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 37) % 256) }),
  });
  const circle = "a big red circle";
  const pictures = [
    picture("a", [circle], 16, 16),
    picture("b", [circle, "a small blue square"], 40, 24),
    picture("c", ["a small blue square"], 16, 16),
  ];
  const configOf = (values: Record<string, unknown> = {}) =>
    resolveConfig(scoreConfig, [plainSource({ model: "reward", ...values }, "test")]);

  it("score pictures of any size, the same in any batch, and rank them by prompt", async () => {
    const before = device.memory().inUse;
    const score = async (batchSize: number) =>
      (await finish(runScore(configOf({ batchSize }), pictures, context()))).result;
    const together = await score(32);
    const alone = await score(1);
    expect(together.map(({ file, prompt }) => `${file} ${prompt.length}`)).toEqual(["a 16", "b 16", "b 19", "c 19"]);
    for (const [i, one] of together.entries()) expect(one.score).toBeCloseTo(alone[i]!.score, 4);
    const config = resolveConfig(rankConfig, [plainSource({ model: "reward" }, "test")]);
    const { result, events } = await finish(runRank(config, pictures, context()));
    expect(result.filter(({ prompt }) => prompt === circle).map(({ rank }) => rank)).toEqual([1, 2]);
    expect(events.at(-1)).toEqual({ type: "result", summary: result });
    await expect(finish(runScore(config, [], context()))).rejects.toThrow(/at least one picture/);
    expect(device.memory().inUse).toBe(before);
  });

  it("refuse what a scorer does not take, and say what it lacks", async () => {
    const run = (values: Record<string, unknown>) => finish(runScore(configOf(values), pictures, context()));
    await expect(run({ scorer: "aesthetic" })).rejects.toThrow(/head: missing; name the aesthetic predictor's file/);
    await expect(run({ scorer: "clip", head: "x.pth" })).rejects.toThrow(
      /head: is the aesthetic predictor's file; the scorer is clip/,
    );
    await expect(run({ scorer: "blip", model: "base" })).rejects.toThrow(/base/);
  });
});
