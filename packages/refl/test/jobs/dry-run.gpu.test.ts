/** Dry runs: the memory, parameters and products that they tell of a training are those of the training itself. */
import { type ModelFolder, memoryFolder, TextToImagePipeline, UNet2DConditionModel } from "@refl/models";
import { createDevice, type Device, DryDevice, Plan, type Tensor, totalFlops } from "@refl/tensor";
import { nodeHost } from "@refl/tensor/node";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { resolveConfig, trainBaseConfig, trainReflConfig, trainRewardConfig } from "../../src/config/index.ts";
import { plainSource } from "../../src/config/source.ts";
import type { Run } from "../../src/events.ts";
import { runTrainBase } from "../../src/jobs/base.ts";
import type { JobContext } from "../../src/jobs/context.ts";
import { dryRun, type Training } from "../../src/jobs/dry-run.ts";
import { runTrainRefl } from "../../src/jobs/refl.ts";
import { runTrainReward } from "../../src/jobs/reward.ts";
import { saveRewardModel, type TaskModels } from "../../src/models.ts";
import { TrainingSession } from "../../src/train/session.ts";
import { finish, MemorySink, tinyModels, tinyReward } from "../train/tiny.ts";

let device: Device;
let shipped: TaskModels;
let reward: ModelFolder;
beforeAll(async () => {
  device = await createDevice({ host: nodeHost() });
  shipped = await tinyModels(device);
  const folder = memoryFolder(new Map(), "reward");
  const scorer = tinyReward(device);
  await saveRewardModel(scorer, folder);
  scorer.model.dispose();
  reward = folder;
});
afterAll(() => device.dispose());

const context = (): JobContext => ({
  device,
  sink: new MemorySink(),
  open: async () => reward,
  shipped: async () => shipped,
});

const common = { task: "shapes16", seed: 3, samplerSteps: 4, sampleEvery: 3, saveEvery: 3 };

const QUICK = { timingSeconds: 1 };

interface Case {
  readonly training: Training;
  readonly run: (context: JobContext) => Run<unknown>;
}

const trainings: Record<Training["kind"] | "base in f16", () => Case> = {
  base: () => {
    const config = resolveConfig(trainBaseConfig, [plainSource({ ...common, steps: 4, batchSize: 4 }, "test")]);
    return { training: { kind: "base", config }, run: (at) => runTrainBase(config, at) };
  },
  "base in f16": () => {
    const values = { ...common, steps: 4, batchSize: 4, precision: "f16" };
    const config = resolveConfig(trainBaseConfig, [plainSource(values, "test")]);
    return { training: { kind: "base", config }, run: (at) => runTrainBase(config, at) };
  },
  refl: () => {
    const values = { ...common, reward: "reward", steps: 6, batchSize: 4, pretrainingBatchSize: 4, window: 2 };
    const config = resolveConfig(trainReflConfig, [plainSource({ ...values, lora: null, control: false }, "test")]);
    return { training: { kind: "refl", config }, run: (at) => runTrainRefl(config, at) };
  },
  reward: () => {
    const { sampleEvery: _, ...rest } = common;
    const values = { ...rest, prompts: 12, foundPrompts: 6, imagesPerPrompt: 3, epochs: 2, rankingsPerStep: 4 };
    const config = resolveConfig(trainRewardConfig, [plainSource(values, "test")]);
    return { training: { kind: "reward", config }, run: (at) => runTrainReward(config, at) };
  },
};

it.each(["base", "base in f16", "refl", "reward"] as const)("train %s", async (kind) => {
  if (kind === "base in f16" && !device.capabilities.f16) return;
  const { training, run } = trainings[kind]();
  const before = device.memory().inUse;
  device.resetPeak();
  await finish(run(context()));
  const peak = device.memory().peak - before;
  const start = performance.now();
  await finish(run(context()));
  const taken = (performance.now() - start) / 1000;

  const { result, events } = await finish(dryRun(training, context(), QUICK));
  expect(device.memory().inUse).toBe(before);
  expect(events.at(-1)).toEqual({ type: "result", summary: result });
  // The number of pairs, and so the shapes of a reward step, depends on the pictures.
  if (kind === "reward") expect(Math.abs(result.peakBytes - peak) / peak).toBeLessThan(0.1);
  else expect(result.peakBytes).toBe(peak);
  const parts = Object.values(result.memory).reduce((a, b) => a + b, 0);
  expect(parts).toBe(result.peakBytes);
  expect(result.largestTensor.bytes).toBeLessThanOrEqual(result.largestTensor.limit);
  expect(result.timed).toBe("steps");
  // Runs of a second on a machine that does other things too: no more than the order of size.
  expect(result.seconds / taken).toBeGreaterThan(1 / 3);
  expect(result.seconds / taken).toBeLessThan(3);
});

it("times kernels where steps would take too long", async () => {
  const { training } = trainings.refl();
  const before = device.memory().inUse;
  const { result } = await finish(dryRun(training, context(), { timingSeconds: 0 }));
  expect(result).toMatchObject({ timed: "kernels", stages: [{ stage: "refl", steps: 6 }] });
  expect(result.seconds).toBeGreaterThan(6 * result.stages[0]!.secondsPerStep);
  expect(device.memory().inUse).toBe(before);
});

it("tells that f16 takes less for activations and more for weights", async () => {
  if (!device.capabilities.f16) return;
  const told = async (precision: string) => {
    const values = { ...common, steps: 4, batchSize: 32, precision };
    const config = resolveConfig(trainBaseConfig, [plainSource(values, "test")]);
    return (await finish(dryRun({ kind: "base", config }, context(), QUICK))).result.memory;
  };
  const [wide, narrow] = [await told("f32"), await told("f16")];
  expect(narrow.activations).toBeLessThan(0.7 * wide.activations);
  expect(narrow["trained weights"] / wide["trained weights"]).toBeCloseTo(1.5, 1);
  expect(narrow.gradients).toBe(wide.gradients);
});

it("tells trained and frozen weights, products and steps", async () => {
  const { training, run } = trainings.refl();
  const { result } = await finish(dryRun(training, context(), QUICK));
  const plans = new Map<string, number[]>();
  const { replay } = Plan.prototype;
  vi.spyOn(Plan.prototype, "replay").mockImplementation(function (this: Plan<never, never>, values) {
    if (this.device === device) plans.set(this.label, [...(plans.get(this.label) ?? []), this.explain().flops]);
    return replay.call(this, values);
  });
  await finish(run(context()));
  vi.restoreAllMocks();
  const flops = plans.get("ReFL step")!;
  expect(result.stages).toMatchObject([
    { stage: "refl", steps: 6, flops: flops.reduce((a, b) => a + b, 0) / flops.length },
  ]);
  using pipeline = await TextToImagePipeline.fromFolder(shipped.base, device);
  const frozen = pipeline.textEncoder.parameterCount();
  expect(result.parameters.slice(0, 2)).toEqual([
    { model: "unet", trained: pipeline.unet.parameterCount(), frozen: 0 },
    { model: "text_encoder", trained: 0, frozen },
  ]);
  expect(result.parameters[2]).toMatchObject({ model: "reward", trained: 0 });
});

it("captures a step of Stable Diffusion's UNet in full without its memory", async () => {
  const dry = new DryDevice(device);
  const unet = new UNet2DConditionModel({ cross_attention_dim: 768 });
  for (const [key, slot] of unet.namedSlots()) slot.allocate(dry, key);
  const weights = 4 * unet.parameterCount();
  expect(weights).toBe(4 * 859_520_964);
  const host = process.memoryUsage().rss;
  const options = { weightDecay: 0.01, gradientClip: 1, emaDecay: null };
  const session = new TrainingSession(dry, unet.namedParameters(), options, { unet });
  type Inputs = { readonly x: Tensor; readonly time: Tensor; readonly states: Tensor };
  const step = session.prepare("step", ({ x, time, states }: Inputs) => {
    const loss = unet.forward(x, time, states).square().mean();
    session.backward(loss);
    return { loss };
  });
  const zeros = (...shape: number[]) => ({ values: new Float32Array(shape.reduce((a, b) => a * b, 1)), shape });
  await step.advance(1e-5, { x: zeros(1, 4, 64, 64), time: zeros(1), states: zeros(1, 77, 768) }, null);
  // Weights, gradients and two moments.
  const { peak } = dry.memory();
  expect(peak).toBeGreaterThan(4 * weights);
  expect(peak).toBeLessThan(1.5 * 4 * weights);
  // 0.8 · 10¹² multiply-adds forward, and twice that back.
  expect(totalFlops(dry.work) / 1e12).toBeCloseTo(2.6, 1);
  expect(dry.largest).toEqual({ label: "up_blocks.0.resnets.0.conv1.weight", bytes: 2560 * 1280 * 9 * 4 });
  expect(process.memoryUsage().rss - host).toBeLessThan(2 ** 29);
  session.dispose();
  dry.dispose();
});
