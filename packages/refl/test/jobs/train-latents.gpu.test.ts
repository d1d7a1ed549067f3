/** `train refl` on Stable Diffusion's shape: own prompts, the presets, resume bit for bit, saved models and adapters that open again, and what is refused. */
import {
  type ModelFolder,
  memoryFolder,
  mergeablePaths,
  mergeLora,
  openCheckpoint,
  PNDMScheduler,
  readLora,
  readTensors,
  TextToImagePipeline,
} from "@refl/models";
import { DataError, type Device } from "@refl/tensor";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { resolveConfig, type TrainReflConfig, trainReflConfig } from "../../src/config/index.ts";
import { plainSource } from "../../src/config/source.ts";
import type { JobContext } from "../../src/jobs/context.ts";
import { weightsDigest } from "../../src/jobs/digest.ts";
import { runTrainRefl } from "../../src/jobs/refl.ts";
import { saveRewardModel } from "../../src/models.ts";
import { listExamples } from "../../src/train/examples.ts";
import { LORA_FILE } from "../../src/train/refl.ts";
import { goldenLatents, latentModels } from "../train/reference-run.ts";
import { finish, firstDifference, MemorySink, metricsOf } from "../train/tiny.ts";

const PROMPTS = goldenLatents.prompts.slice(0, 5);

let device: Device;
let folders: Readonly<Record<string, ModelFolder>>;
let sink: MemorySink;
beforeAll(async () => {
  device = await testDevice();
  const { pipeline, scorer, dispose } = latentModels(device);
  const [model, reward] = [memoryFolder(new Map(), "model"), memoryFolder(new Map(), "reward")];
  await pipeline.save(model);
  await saveRewardModel(scorer, reward);
  dispose();
  folders = { model, reward };
});
beforeEach(() => {
  sink = new MemorySink();
});

const context = (signal?: AbortSignal): JobContext => ({
  device,
  sink,
  open: async (path) => folders[path]!,
  shipped: () => Promise.reject(new Error("nothing shipped is asked for")),
  ...(signal ? { signal } : {}),
});

/** The repository's recipe, shortened. */
const small = {
  ...{ model: "model", reward: "reward", prompts: "mine.txt", precision: "f32", seed: 4 },
  ...{
    steps: 2,
    samplerSteps: 4,
    window: 2,
    gradientAccumulationSteps: 2,
    batchSize: 1,
    lambda: 1,
    lr: 1e-3,
    guidance: 2,
  },
};
const configOf = (values: object): TrainReflConfig =>
  resolveConfig(trainReflConfig, [plainSource({ ...small, ...values }, "test")]);

const opened = async (): Promise<TextToImagePipeline> =>
  TextToImagePipeline.fromFolder(await sink.openCheckpoint((await sink.findBestCheckpoint())!), device);

describe("train refl on latents", () => {
  it("tunes the UNet by the repository's recipe, leaves all else as it was, and resumes to the same bits", async () => {
    const config = configOf({ saveEvery: 1 });
    expect(config).toMatchObject({ preset: "repository", variant: "repository", sampler: "ddpm", stepsOffset: 0 });
    const { events, result } = await finish(runTrainRefl(config, context(), { prompts: PROMPTS }));
    expect(Object.keys(result)).toEqual(["refl"]);
    for (const metrics of metricsOf(events))
      expect(Object.keys(metrics)).toEqual(["lr", "gradNorm", "rewardLoss", "reward"]);
    const grids = events.flatMap((event) => (event.type === "samples" ? [event.grid] : []));
    expect(grids.map(({ captions }) => captions)).toEqual([PROMPTS.slice(0, 4), PROMPTS.slice(0, 4)]);
    using tuned = await opened();
    using base = await TextToImagePipeline.fromFolder(folders["model"]!, device);
    expect(tuned.scheduler).toBeInstanceOf(PNDMScheduler);
    expect(tuned.scheduler.toConfig()).toEqual(base.scheduler.toConfig());
    expect(await weightsDigest(tuned.codec.model!)).toBe(await weightsDigest(base.codec.model!));
    expect(await weightsDigest(tuned.textEncoder)).toBe(await weightsDigest(base.textEncoder));
    expect(await weightsDigest(tuned.unet)).not.toBe(await weightsDigest(base.unet));

    const whole = sink.checkpoints.get(2)!;
    sink = new MemorySink();
    const stop = new AbortController();
    await finish(runTrainRefl(config, context(stop.signal), { prompts: PROMPTS }), (event) => {
      if (event.type === "step") stop.abort();
    });
    expect([...sink.checkpoints.keys()]).toEqual([1]);
    await finish(runTrainRefl(config, context(), { prompts: PROMPTS, resume: true }));
    const resumed = sink.checkpoints.get(2)!;
    expect(Object.keys(resumed).sort()).toEqual(Object.keys(whole).sort());
    for (const [path, bytes] of Object.entries(whole)) expect(firstDifference(resumed[path]!, bytes), path).toBe(-1);
  });

  it("leaves adapters as a file that gives the saved model when it is merged into the one before", async () => {
    const config = configOf({ preset: "repository-lora", lora: { rank: 2 }, resolution: 24, ema: null });
    expect(config).toMatchObject({ gradientCheckpointing: true, ema: null });
    await finish(runTrainRefl(config, context(), { prompts: PROMPTS }));
    using tuned = await opened();
    using base = await TextToImagePipeline.fromFolder(folders["model"]!, device);
    const before = await weightsDigest(base.unet);
    const place = await sink.openCheckpoint((await sink.findBestCheckpoint())!);
    const file = await openCheckpoint(await place.open(LORA_FILE));
    mergeLora(base.unet, await readLora(file, mergeablePaths(base.unet)), { scale: 1, file: file.name });
    await file.close();
    expect(await weightsDigest(base.unet)).not.toBe(before);
    const [merged, saved] = [await readTensors(base.unet.parameters()), await readTensors(tuned.unet.parameters())];
    for (const [i, values] of saved.entries())
      for (const [k, value] of values.entries()) expect(Math.abs(value - merged[i]![k]!)).toBeLessThan(1e-6);
  });

  it("learns from own pictures beside the prompts with the paper's recipe, in f16 where the adapter has it", async () => {
    const rgb = new Uint8Array(3 * 16 * 16).map((_, i) => (i * 37) % 256);
    const examples = (size: number) => listExamples("mine", size, [{ rgb, caption: PROMPTS[0]! }]);
    const precision = device.capabilities.f16 ? "f16" : "f32";
    const config = configOf({ preset: "paper", steps: 1, resolution: 16, precision, ema: null });
    const { events } = await finish(runTrainRefl(config, context(), { prompts: PROMPTS, examples }));
    const [metrics] = metricsOf(events);
    expect(metrics!["pretrainingLoss"]).toBeGreaterThan(0);
    expect(metrics!["rewardLoss"]).toBeGreaterThan(0);
  });

  it.each([
    ["data", { preset: "paper" }],
    ["resolution", { resolution: 25 }],
    ["earlyStop", { earlyStop: {} }],
    ["prompts", { prompts: undefined, preset: "repository" }],
  ])("names %s where it does not fit", async (field, values) => {
    const { inUse } = device.memory();
    const run = finish(runTrainRefl(configOf(values), context(), { prompts: PROMPTS }));
    await expect(run).rejects.toThrow(DataError);
    await expect(run).rejects.toMatchObject({ field });
    expect(device.memory().inUse).toBe(inUse);
    expect(sink.checkpoints.size).toBe(0);
  });
});
