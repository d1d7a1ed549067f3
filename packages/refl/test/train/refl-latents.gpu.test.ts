/** ReFL on Stable Diffusion's layout (an autoencoder's latents, no pre-training loss, accumulated gradients) against ImageReward's own loop in PyTorch (`reference/`). */
import { backward, gradOf } from "@refl/autograd";
import { readTensors } from "@refl/models";
import { type Device, keep, scope, toDevice } from "@refl/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { gradedData, gradedIndex, gradedPictures } from "../../src/train/graded.ts";
import type { ReflOptions } from "../../src/train/refl.ts";
import { goldenLatents, latentModels, latentPrompt, latentRun } from "./reference-run.ts";
import { finish, firstDifference, metricsOf } from "./tiny.ts";

/** Largest |x − golden| / |golden| of a step's loss. */
const BOUND = 1e-3;

const { training, curves, gradients, moved } = goldenLatents;
const { seed, batchSize, samplerSteps, window, lambda, size, accumulation = 1 } = training;

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

type Figures = (typeof gradients)[string];

/** Of the kept entries and the norm of a tensor, the largest difference by the tensor's largest entry and by its norm. */
function deviation(values: Float32Array, { norm, largest, entries }: Figures): number {
  const kept = entries.map((_, i) => values[Math.floor((i * values.length) / entries.length)]!);
  const errors = kept.map((x, i) => Math.abs(x - entries[i]!) / largest);
  return Math.max(Math.abs(Math.hypot(...values) - norm) / norm, ...errors);
}

/** The tensors that differ by more than `bound`, and the largest difference of all. */
function compare(values: ReadonlyMap<string, Float32Array>, golden: Readonly<Record<string, Figures>>, bound: number) {
  const errors = Object.entries(golden).map(([key, figures]) => [key, deviation(values.get(key)!, figures)] as const);
  expect([...values.keys()].sort()).toEqual(Object.keys(golden).sort());
  return { largest: Math.max(...errors.map(([, e]) => e)), outside: errors.filter(([, error]) => !(error <= bound)) };
}

describe("the first step", () => {
  it("has the losses and the gradients of PyTorch in every weight of the UNet", async () => {
    const { pipeline, scorer, dispose } = latentModels(device);
    for (const frozen of [pipeline.textEncoder, pipeline.codec.model!, scorer.model]) frozen.requiresGrad(false);
    const prompts = (index: number) =>
      Array.from({ length: batchSize }, (_, i) => latentPrompt(seed, index * batchSize + i));
    const all = goldenLatents.prompts;
    const { values, shape } = pipeline.tokenIds(all);
    expect(all.map((_, i) => Array.from(values as Int32Array).slice(i * shape[1]!, i * shape[1]! + 12))).toEqual(
      goldenLatents.clipIds,
    );
    const losses = Array.from({ length: accumulation }, (_, index) => {
      const graded = gradedIndex(seed, index, samplerSteps, window);
      const data = gradedData(pipeline, prompts(index), seed, index * batchSize, samplerSteps, graded);
      return scope(() => {
        const pictures = gradedPictures(pipeline, toDevice(device, data), samplerSteps, graded, size);
        expect(pictures.shape).toEqual([batchSize, 3, ...size]);
        const loss = scorer.scoreTensor(prompts(index), pictures).neg().add(2).relu().mean();
        backward(loss.mul(lambda / accumulation));
        return keep(loss.detach());
      });
    });
    const seen = (await readTensors(losses)).map(([loss]) => loss!);
    for (const t of losses) t.dispose();
    const weights = pipeline.unet.namedParameters();
    const lists = await readTensors([...weights.values()].map((weight) => gradOf(weight)!));
    dispose();
    const { largest, outside } = compare(
      new Map([...weights.keys()].map((key, i) => [key, lists[i]!])),
      gradients,
      1e-3,
    );
    console.log(`first step on latents against PyTorch: gradients differ by up to ${largest.toExponential(1)}`);
    expect(seen.map((loss, i) => Math.abs(loss / goldenLatents.firstStep.loss[i]! - 1) <= 1e-4)).toEqual([
      true,
      true,
      true,
    ]);
    expect(outside).toEqual([]);
  });
});

interface Trained {
  readonly metrics: readonly Readonly<Record<string, number>>[];
  /** The moving average less the start, by weight. */
  readonly moved: ReadonlyMap<string, Float32Array>;
  readonly dispatches: number;
}

interface TrainOptions {
  /** Fields of the scheduler's file other than its own. */
  readonly scheduler?: object;
  readonly gradientCheckpointing?: boolean;
}

/** Runs a tuning to its end; `over` are options other than the golden ones. */
async function train(over: Partial<ReflOptions> = {}, options: TrainOptions = {}): Promise<Trained> {
  const { scheduler, gradientCheckpointing = false } = options;
  const models = latentModels(device, scheduler);
  try {
    const { unet, codec } = models.pipeline;
    for (const model of [unet, codec.model]) model?.enableGradientCheckpointing(gradientCheckpointing);
    const weights = unet.namedParameters();
    const start = await readTensors([...weights.values()]);
    const before = device.counters.dispatches;
    const { events } = await finish(latentRun(models, over));
    const dispatches = device.counters.dispatches - before;
    const end = await readTensors([...weights.values()]);
    const differences = [...weights.keys()].map((key, i) => [key, end[i]!.map((x, k) => x - start[i]![k]!)] as const);
    return { metrics: metricsOf(events), moved: new Map(differences), dispatches };
  } finally {
    models.dispose();
  }
}

/** The largest |x − golden| / |golden| of a metric's steps. */
const worst = ({ metrics }: Trained, golden: readonly number[], name: string): number =>
  Math.max(...metrics.map((step, i) => Math.abs(step[name]! / golden[i]! - 1)));

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

describe("20 steps", () => {
  it("the golden run is one that learns, in which steps are clipped and others are not", () => {
    const losses = curves["rewardLoss"]!;
    expect(mean(losses.slice(-6)) / mean(losses.slice(0, 6))).toBeLessThan(0.7);
    const clipped = curves["gradNorm"]!.filter((norm) => norm > training.gradientClip).length;
    expect(clipped).toBeGreaterThan(6);
    expect(clipped).toBeLessThan(losses.length);
  });

  it("follow PyTorch in losses, rewards, gradient norms, and the moving average that is kept", async () => {
    // Op by op: each of the twelve kinds of batches that would be captured runs a few times only.
    const run = await train({ eager: true });
    const average = compare(run.moved, moved, BOUND);
    const [loss, norm] = ["rewardLoss", "gradNorm"].map((name) => worst(run, curves[name]!, name)) as [number, number];
    const text = [loss, norm, average.largest].map((x) => x.toExponential(1));
    console.log(
      `ReFL on latents against PyTorch, largest relative difference of 20 steps: rewardLoss ${text[0]}, gradNorm ${text[1]}, moving average ${text[2]}`,
    );
    expect(run.metrics).toHaveLength(training.steps);
    expect(loss).toBeLessThanOrEqual(BOUND);
    expect(norm).toBeLessThanOrEqual(BOUND);
    // Rewards pass through zero: by the deviation that they are normalised by.
    const rewards = run.metrics.map((step, i) => Math.abs(step["reward"]! - curves["reward"]![i]!));
    expect(Math.max(...rewards)).toBeLessThanOrEqual(BOUND);
    expect(average.outside).toEqual([]);
  });

  it("begin as PyTorch's with the timesteps of older versions of diffusers, which the bound tells apart", async () => {
    const golden = goldenLatents.curvesWithoutOffset["rewardLoss"]!.slice(0, 2);
    const run = await train({ steps: golden.length, eager: true }, { scheduler: { steps_offset: 0 } });
    expect(run.metrics).toHaveLength(golden.length);
    expect(worst(run, golden, "rewardLoss")).toBeLessThanOrEqual(BOUND);
    expect(worst(run, goldenLatents.curvesWithoutOffset["gradNorm"]!, "gradNorm")).toBeLessThanOrEqual(BOUND);
    expect(worst(run, curves["rewardLoss"]!, "rewardLoss")).toBeGreaterThan(BOUND);
  });
});

describe("what changes nothing", () => {
  /** Whether two runs have the same bits in all metrics and weights. */
  function expectSame(a: Trained, b: Trained): void {
    expect(b.metrics).toEqual(a.metrics);
    const same = [...a.moved].filter(([key, values]) => firstDifference(values, b.moved.get(key)!) < 0);
    expect(same).toHaveLength(a.moved.size);
  }

  it("gradient checkpointing of UNet and autoencoder, and capturing steps", async () => {
    // A short sampler: a captured step holds a binding for each dispatch.
    const options = { steps: 1, samplerSteps: 4, window: 2 };
    const eager = await train({ ...options, eager: true });
    const checkpointed = await train({ ...options, eager: true }, { gradientCheckpointing: true });
    expect(checkpointed.dispatches).toBeGreaterThan(eager.dispatches * 1.05);
    expectSame(eager, checkpointed);
    expectSame(eager, await train(options));
  });
});

describe.runIf((await testDevice()).capabilities.f16)("mixed precision", () => {
  it("falls as f32 does, within a twentieth of its losses", async () => {
    // Not the golden λ: eight times this one the loss's first scales overflow, and steps that are skipped are steps behind.
    const options = { steps: 4, lambda: 1, eager: true };
    const full = await train(options);
    const half = await train({ ...options, precision: "f16" });
    const losses = half.metrics.map((step) => step["rewardLoss"]!);
    const error = worst(
      half,
      full.metrics.map((step) => step["rewardLoss"]!),
      "rewardLoss",
    );
    console.log(
      `ReFL on latents in f16 against f32, largest relative difference of 4 steps: ${error.toExponential(1)}`,
    );
    expect(half.metrics.filter((step) => "skipped" in step)).toEqual([]);
    expect(error).toBeLessThanOrEqual(0.05);
    expect(Math.abs(losses[0]! / curves["rewardLoss"]![0]! - 1)).toBeLessThanOrEqual(2e-3);
    expect(losses.at(-1)).toBeLessThan(losses[0]! * 0.95);
  });
});
