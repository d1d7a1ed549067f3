/** Mixed precision: training in f16 comes to the losses of f32, an overflow halves the loss's scale and changes nothing else, and states carry the scale. */
import { type GradScalerOptions, Parameter } from "@refl/autograd";
import { readTensors } from "@refl/models";
import { createDevice, type Device, DivergedError, DTypeError, type Tensor, tensor } from "@refl/tensor";
import { nodeHost } from "@refl/tensor/node";
import { beforeAll, describe, expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { shapes16 } from "../../src/data/shapes16.ts";
import { trainBase } from "../../src/train/base.ts";
import { taskExamples } from "../../src/train/examples.ts";
import type { RankedPictures } from "../../src/train/pairs.ts";
import { trainRefl } from "../../src/train/refl.ts";
import { trainRewardModel } from "../../src/train/reward.ts";
import { type Precision, TrainingSession } from "../../src/train/session.ts";
import { finish, metricsOf, stateFolder, stateOf, tinyPipeline, tinyReward } from "./tiny.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

/** Weights [4] whose gradient is x, whatever they are. */
class Slope {
  readonly weight: Parameter;
  readonly session: TrainingSession;
  readonly #step;

  constructor(precision: Precision, lossScaling: GradScalerOptions = {}) {
    this.weight = new Parameter(tensor(device, [1, 2, 3, 4]), "weight");
    const options = { weightDecay: 0, gradientClip: 1, emaDecay: 0.9, precision, lossScaling };
    this.session = new TrainingSession(device, [["weight", this.weight]], options);
    this.#step = this.session.prepare("slope", ({ x }: { readonly x: Tensor }) => {
      const { working } = this.weight;
      const loss = working.mul(x.to(working.dtype)).to("f32").sum();
      this.session.backward(loss);
      return { loss };
    });
  }

  advance(x: number): Promise<Record<string, number>> {
    return this.#step.advance(0.125, { x: { values: [x, x, x, x], shape: [4] } }, null);
  }

  /** Weights, averages and moments. */
  async numbers(): Promise<number[][]> {
    const { group, optimizer, average } = this.session;
    const { first, second } = optimizer.moments;
    const lists = await readTensors([group.slabs[0]!.values, ...average!.averages, ...first, ...second]);
    return lists.map((list) => [...list.slice(0, 4)]);
  }

  dispose(): void {
    this.session.dispose();
    this.weight.dispose();
  }
}

describe.runIf((await testDevice()).capabilities.f16)("mixed precision", () => {
  it("refuses a step that overflows, halves the scale, and doubles it after enough good steps", async () => {
    const before = device.memory().inUse;
    const half = new Slope("f16", { growthInterval: 3 });
    const full = new Slope("f32");
    const start = await half.numbers();
    // 65536 is beyond f16.
    const first = await half.advance(1);
    expect(first).toMatchObject({ lossScale: 65536, skipped: 1, loss: 10 });
    expect(first).not.toHaveProperty("gradNorm");
    expect(await half.numbers()).toEqual(start);
    expect(half.session.step).toBe(1);
    expect(half.session.optimizer.steps).toBe(0);
    full.session.step = 1;
    for (let i = 0; i < 3; i++) {
      const [narrow, wide] = [await half.advance(1), await full.advance(1)];
      expect(narrow).toMatchObject({ lossScale: 32768, gradNorm: wide["gradNorm"] });
      expect(narrow).not.toHaveProperty("skipped");
      expect(await half.numbers()).toEqual(await full.numbers());
    }
    expect(await half.advance(1)).toMatchObject({ lossScale: 65536, skipped: 1 });
    expect(await half.numbers()).toEqual(await full.numbers());
    expect(await half.advance(1)).toMatchObject({ lossScale: 32768 });
    half.dispose();
    full.dispose();
    expect(device.memory().inUse).toBe(before);
  });

  it("gives up when gradients are no numbers at any scale, and changes nothing", async () => {
    const half = new Slope("f16", { initScale: 4 });
    const start = await half.numbers();
    expect(await half.advance(Number.NaN)).toEqual({ lr: 0.125, lossScale: 4, skipped: 1 });
    expect(await half.advance(Number.NaN)).toMatchObject({ lossScale: 2, skipped: 1 });
    const error = await half.advance(Number.NaN).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(DivergedError);
    expect(error).toMatchObject({ tensor: "the gradient of weight", step: 3 });
    expect(await half.numbers()).toEqual(start);
    half.dispose();
  });

  it("goes on from a state with the scale that it had", async () => {
    const half = new Slope("f16", { growthInterval: 3 });
    for (let i = 0; i < 3; i++) await half.advance(1);
    const state = await stateOf((folder) => half.session.save(folder));
    const next = [await half.advance(1), await half.advance(1)];
    const other = new Slope("f16", { growthInterval: 3 });
    await other.session.load(stateFolder(state));
    expect([await other.advance(1), await other.advance(1)]).toEqual(next);
    expect(await other.numbers()).toEqual(await half.numbers());
    half.dispose();
    other.dispose();
  });

  const common = {
    examples: taskExamples(shapes16),
    objective: { timestepShift: 3, weighting: { kind: "inverse-variance" } },
    lr: 2e-3,
    lrSchedule: "constant",
    warmupSteps: 2,
    weightDecay: 0.01,
    gradientClip: 1,
    emaDecay: 0.99,
    seed: 5,
  } as const;

  it("trains a base model to the loss of f32 within 1 %, and leaves f32 weights", async () => {
    const before = device.memory().inUse;
    const run = async (precision: Precision) => {
      const pipeline = tinyPipeline(device, 3);
      const { events } = await finish(trainBase({ ...common, pipeline, steps: 60, batchSize: 8, precision }));
      const [weight] = await readTensors([pipeline.unet.conv_in.weight.value]);
      expect(pipeline.unet.conv_in.weight.value.dtype).toBe("f32");
      pipeline.dispose();
      const losses = metricsOf(events).map((metrics) => metrics["loss"]!);
      const mean = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0) / list.length;
      return { first: mean(losses.slice(0, 10)), last: mean(losses.slice(-20)), weight: weight! };
    };
    const [wide, narrow] = [await run("f32"), await run("f16")];
    expect(wide.last).toBeLessThan(0.7 * wide.first);
    expect(Math.abs(narrow.last - wide.last) / wide.last).toBeLessThan(0.01);
    expect(narrow.weight).not.toEqual(wide.weight);
    expect(device.memory().inUse).toBe(before);
  });

  it("trains a reward model on frozen encoders to the loss of f32 within 1 %", async () => {
    const before = device.memory().inUse;
    const size = 16;
    const words = ["a big red circle", "a small blue square", "a green ring"];
    const rankings = Array.from({ length: 9 }, (_, k): RankedPictures => {
      const greys = [k * 20, 90 + k * 10, 250 - k];
      const rgb = greys.map((grey) => new Uint8Array(3 * size * size).fill(grey));
      return { prompt: words[k % 3]!, rgb, ranking: [3, 2, 1] };
    });
    const run = async (precision: Precision) => {
      const scorer = tinyReward(device);
      const { result } = await finish(
        trainRewardModel({
          ...common,
          scorer,
          training: rankings.slice(0, 6),
          validation: rankings.slice(6),
          heldOut: rankings.slice(6),
          size,
          epochs: 5,
          rankingsPerStep: 3,
          noise: 0.2,
          fixRate: 1,
          shift: 0,
          precision,
        }),
      );
      scorer.model.dispose();
      return result.curve;
    };
    const [wide, narrow] = [await run("f32"), await run("f16")];
    const [a, b] = [wide.at(-1)!.loss, narrow.at(-1)!.loss];
    expect(Math.abs(b - a) / a).toBeLessThan(0.01);
    expect(device.memory().inUse).toBe(before);
  });

  it("takes ReFL's steps, with all weights and with adapters, through models in f16", async () => {
    const before = device.memory().inUse;
    const run = async (precision: Precision, lora: { readonly rank: number } | null) => {
      const pipeline = tinyPipeline(device, 2);
      const scorer = tinyReward(device, { textScale: 0.3 });
      const { events } = await finish(
        trainRefl({
          ...common,
          pipeline,
          scorer,
          prompt: (seed, index) => common.examples.example(seed, index).caption,
          steps: 4,
          batchSize: 4,
          pretrainingBatchSize: 4,
          lambda: 0.2,
          pretrainingWeight: 3,
          rewardNoise: 0.3,
          window: 1,
          samplerSteps: 3,
          stage: "refl",
          validation: null,
          lora,
          precision,
        }),
      );
      pipeline.dispose();
      scorer.model.dispose();
      return metricsOf(events).filter((metrics) => !metrics["skipped"]);
    };
    for (const lora of [null, { rank: 2 }]) {
      const [wide, narrow] = [await run("f32", lora), await run("f16", lora)];
      expect(narrow.length).toBeGreaterThan(2);
      const [a, b] = [wide.at(-1)!, narrow.at(-1)!];
      for (const name of ["pretrainingLoss", "rewardLoss"])
        expect(Math.abs(b[name]! - a[name]!) / a[name]!).toBeLessThan(0.02);
    }
    expect(device.memory().inUse).toBe(before);
  });
});

it("refuses f16 on an adapter without it, before anything is packed", async () => {
  const portable = await createDevice({ host: nodeHost(), tier: "portable" });
  const weight = new Parameter(tensor(portable, [1, 2, 3, 4]), "weight");
  const options = { weightDecay: 0, gradientClip: 1, emaDecay: null, precision: "f16" } as const;
  const before = portable.memory().inUse;
  expect(() => new TrainingSession(portable, [["weight", weight]], options)).toThrow(DTypeError);
  expect(() => new TrainingSession(portable, [["weight", weight]], options)).toThrow(/no shader-f16/);
  expect(portable.memory().inUse).toBe(before);
  portable.dispose();
});
