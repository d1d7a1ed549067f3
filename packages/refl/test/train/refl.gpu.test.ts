/** ReFL and its control: what each draws and learns from, what stays frozen, early stop, resume bit for bit, and adapters. */
import { backward, gradOf } from "@refl/autograd";
import { readTensors, type TextToImagePipeline } from "@refl/models";
import { type Device, scope, toDevice } from "@refl/tensor";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { shapes16 } from "../../src/data/shapes16.ts";
import { weightsDigest } from "../../src/jobs/digest.ts";
import type { ImageReward } from "../../src/scorers/image-reward.ts";
import { taskExamples } from "../../src/train/examples.ts";
import { gradedData, gradedIndex, gradedPictures } from "../../src/train/graded.ts";
import { type Look, type ReflOptions, trainRefl } from "../../src/train/refl.ts";
import { finish, firstDifference, metricsOf, savesStates, stateFolder, tinyPipeline, tinyReward } from "./tiny.ts";

const PROMPTS = ["a big red circle on a blue background", "small green square, white background", "a big cyan ring"];

let device: Device;
let pipeline: TextToImagePipeline;
let scorer: ImageReward;
beforeAll(async () => {
  device = await testDevice();
});
beforeEach(() => {
  pipeline = tinyPipeline(device, 2);
  scorer = tinyReward(device);
});
afterEach(() => {
  vi.restoreAllMocks();
  pipeline.dispose();
  scorer.model.dispose();
});

const options = (more: Partial<ReflOptions> = {}): ReflOptions => ({
  pipeline,
  scorer,
  prompt: (seed, index) => PROMPTS[(seed + index) % PROMPTS.length]!,
  examples: taskExamples(shapes16),
  objective: { timestepShift: 3, weighting: { kind: "inverse-variance" } },
  steps: 3,
  batchSize: 2,
  pretrainingBatchSize: 2,
  lambda: 0.2,
  pretrainingWeight: 3,
  window: 2,
  rewardNoise: 0,
  samplerSteps: 4,
  lora: null,
  lr: 1e-3,
  lrSchedule: "constant",
  warmupSteps: 0,
  weightDecay: 0.01,
  gradientClip: 1,
  emaDecay: 0.9999,
  seed: 3,
  stage: "refl",
  validation: null,
  ...more,
});

/** Numbers of the examples that a run asks for, and how often it asks the UNet. */
function watch(): { indices: number[]; passes: () => number; options: Partial<ReflOptions> } {
  const indices: number[] = [];
  const source = taskExamples(shapes16);
  const forward = pipeline.unet.forward.bind(pipeline.unet);
  const spy = vi.spyOn(pipeline.unet, "forward").mockImplementation((...args) => forward(...args));
  const example = (seed: number, index: number) => {
    indices.push(index);
    return source.example(seed, index);
  };
  return { indices, passes: () => spy.mock.calls.length, options: { examples: { ...source, example } } };
}

describe("the arms", () => {
  // With so small a rate the weights of both arms stay what they are, and equal losses mean equal pictures, times and noise.
  const still = { lr: 1e-30, weightDecay: 0 } as const;

  it("see the same pre-training batches; the control draws nothing", async () => {
    const refl = watch();
    const tuned = metricsOf((await finish(trainRefl(options({ ...still, ...refl.options })))).events);
    // A step is captured once for each place of the graded step, and only replayed from then on.
    const places = new Set([0, 1, 2].map((step) => gradedIndex(3, step, 4, 2)));
    expect(refl.passes()).toBe([...places].reduce((sum, place) => sum + 1 + place + 1, 0));
    vi.restoreAllMocks();
    const control = watch();
    const asked = vi.fn(options().prompt);
    const rest = { ...still, ...control.options, lambda: 0, stage: "control", prompt: asked } as const;
    const { events } = await finish(trainRefl(options(rest)));
    const plain = metricsOf(events);
    expect(control.passes()).toBe(1);
    expect(asked).not.toHaveBeenCalled();
    expect(control.indices).toEqual([0, 1, 2, 3, 4, 5]);
    expect(refl.indices).toEqual(control.indices);
    expect(tuned.map((m) => m["pretrainingLoss"])).toEqual(plain.map((m) => m["pretrainingLoss"]));
    expect(Object.keys(plain[0]!)).toEqual(["lr", "gradNorm", "pretrainingLoss"]);
    expect(Object.keys(tuned[0]!)).toEqual(["lr", "gradNorm", "pretrainingLoss", "rewardLoss", "reward"]);
    expect(events.every((event) => event.type === "step" && event.stage === "control")).toBe(true);
  });

  it("move the UNet and nothing else", async () => {
    const frozen = async () => [await weightsDigest(pipeline.textEncoder), await weightsDigest(scorer.model)];
    const there = await frozen();
    const unet = await weightsDigest(pipeline.unet);
    const { result } = await finish(trainRefl(options({ steps: 2 })));
    expect(result).toEqual({ curve: [], kept: 2, lastStep: 2, stoppedEarly: false });
    expect(await frozen()).toEqual(there);
    expect(await weightsDigest(pipeline.unet)).not.toBe(unet);
    // The first run left the weights packed; further ones leave nothing behind.
    const { inUse } = device.memory();
    await finish(trainRefl(options({ steps: 1 })));
    expect(device.memory().inUse).toBe(inUse);
  });

  it("take the reward's gradient as the loss of the graded pictures has it", async () => {
    const only = { steps: 1, pretrainingBatchSize: 0, lambda: 0.5, gradientClip: 1e9, ...still };
    const [metrics] = metricsOf((await finish(trainRefl(options(only)))).events);
    pipeline.unet.requiresGrad(true);
    const prompts = [PROMPTS[0]!, PROMPTS[1]!];
    const rewards = scope(() => {
      const graded = gradedIndex(3, 0, 4, 2);
      const data = toDevice(device, gradedData(pipeline, prompts, 3, 0, 4, graded));
      const pictures = gradedPictures(pipeline, data, 4, graded);
      const scores = scorer.scoreTensor(prompts, pictures);
      backward(scores.neg().add(2).relu().mean().mul(0.5));
      return scores.detach().alias();
    });
    const values = [...(await rewards.data())];
    rewards.dispose();
    expect(Object.keys(metrics!)).toEqual(["lr", "gradNorm", "rewardLoss", "reward"]);
    expect(metrics!["reward"]).toBeCloseTo((values[0]! + values[1]!) / 2, 5);
    expect(metrics!["rewardLoss"]).toBeCloseTo(2 - metrics!["reward"]!, 5);
    const gradients = await readTensors(pipeline.unet.parameters().map((weight) => gradOf(weight)!));
    const norm = Math.hypot(...gradients.map((list) => Math.hypot(...list)));
    expect(metrics!["gradNorm"]! / norm).toBeCloseTo(1, 4);
  });

  it("raise the reward that they are tuned by", async () => {
    const score = async () => {
      const drawn = await pipeline.generate({ prompts: PROMPTS, seeds: 1, steps: 4 });
      const rewards = await scorer.score(PROMPTS, (await drawn.data()) as Float32Array, 16);
      drawn.dispose();
      return rewards.reduce((sum, r) => sum + r, 0) / rewards.length;
    };
    scorer.model.mean = await score();
    scorer.model.std = 0.05;
    const start = await score();
    const more = { steps: 8, lr: 2e-3, pretrainingBatchSize: 0, lambda: 1, emaDecay: 0.5 };
    const { events } = await finish(trainRefl(options(more)));
    const rewards = metricsOf(events).map((m) => m["reward"]!);
    expect(await score(), JSON.stringify({ start, rewards })).toBeGreaterThan(start + 0.2);
  });
});

describe("looks", () => {
  const scripted = (scores: readonly number[]) => {
    let at = 0;
    const look = vi.fn(async (): Promise<Look> => ({ judge: scores[at++]!, standardError: 0.1, reward: 0 }));
    return { every: 1, patience: 2, look };
  };

  it("end the run when patience does, and the best look's average is what stays", async () => {
    const digests: string[] = [];
    const validation = scripted([0.3, 0.5, 0.4, 0.5, 0.9]);
    const seeing = {
      ...validation,
      look: async () => {
        digests.push(await weightsDigest(pipeline.unet));
        return validation.look();
      },
    };
    const { result, events } = await finish(trainRefl(options({ steps: 6, validation: seeing })));
    expect(result).toMatchObject({ kept: 1, lastStep: 3, stoppedEarly: true });
    expect(result.curve.map(({ step, judge }) => [step, judge])).toEqual([
      [0, 0.3],
      [1, 0.5],
      [2, 0.4],
      [3, 0.5],
    ]);
    expect(metricsOf(events).map((m) => m["judge"])).toEqual([0.5, 0.4, 0.5]);
    expect(new Set(digests).size).toBe(4);
    expect(await weightsDigest(pipeline.unet)).toBe(digests[1]);
  });

  it("let the reward decide between looks that the judge cannot tell apart", async () => {
    const kept = async (looks: readonly (readonly [judge: number, reward: number])[]) => {
      let at = 0;
      const look = async (): Promise<Look> => {
        const [judge, reward] = looks[at++]!;
        return { judge, standardError: 0.1, reward };
      };
      const validation = { every: 1, patience: 9, look };
      return (await finish(trainRefl(options({ steps: looks.length - 1, validation })))).result.kept;
    };
    expect(
      await kept([
        [0.5, 0],
        [0.48, 1],
        [0.46, 2],
      ]),
    ).toBe(2);
    expect(
      await kept([
        [0.5, 0],
        [0.48, 1],
        [0.44, 2],
      ]),
    ).toBe(1);
    expect(
      await kept([
        [0.5, 1],
        [0.52, 0],
        [0.56, 0],
      ]),
    ).toBe(2);
  });

  it("keep the untouched model when tuning only harms", async () => {
    const untouched = await weightsDigest(pipeline.unet);
    const { result } = await finish(trainRefl(options({ validation: scripted([0.9, 0.1, 0.2]) })));
    expect(result).toMatchObject({ kept: 0, lastStep: 2, stoppedEarly: true });
    expect(await weightsDigest(pipeline.unet)).toBe(untouched);
  });

  it("come back on resume with everything else, bit for bit", async () => {
    const scores = [0.3, 0.6, 0.5, 0.8, 0.7];
    const run = async (more: Partial<ReflOptions>, stopAfter = 4) => {
      const own = tinyPipeline(device, 2);
      const stop = new AbortController();
      const states = new Map<number, Uint8Array>();
      const save = savesStates(99, (step, state) => states.set(step, state));
      const given = options({ pipeline: own, steps: 4, save, signal: stop.signal, ...more });
      const ended = await finish(trainRefl(given), (event) => {
        if (event.type === "step" && event.step === stopAfter) stop.abort();
      });
      const weights = (await readTensors(own.unet.parameters())).flatMap((list) => [...list]);
      own.dispose();
      return { ...ended, metrics: metricsOf(ended.events), states, weights };
    };
    const validation = () => ({ ...scripted(scores), patience: 9 });
    const straight = await run({ validation: validation() });
    const first = await run({ validation: validation() }, 2);
    expect([...first.states.keys()]).toEqual([2]);
    const rest = { ...scripted(scores.slice(3)), patience: 9 };
    const second = await run({ validation: rest, resume: stateFolder(first.states.get(2)!) });
    expect(second.result).toEqual(straight.result);
    expect([...first.metrics, ...second.metrics]).toEqual(straight.metrics);
    expect(firstDifference(second.weights, straight.weights)).toBe(-1);
  });
});

describe("low-rank adapters", () => {
  it("are merged into the attention projections and leave all other weights alone", async () => {
    const read = async () => {
      const state = pipeline.unet.stateDict();
      const values = await readTensors([...state.values()]);
      return new Map([...state.keys()].map((key, i) => [key, values[i]!]));
    };
    const before = await read();
    const { events } = await finish(trainRefl(options({ lora: { rank: 2 }, steps: 2, lr: 1e-2 })));
    expect(metricsOf(events)[0]!["gradNorm"]).toBeGreaterThan(0);
    const after = await read();
    const moved = [...after.keys()].filter((key) => firstDifference(after.get(key)!, before.get(key)!) !== -1);
    const projections = [...after.keys()].filter((key) => /\.(to_q|to_k|to_v|to_out\.0)\.weight$/.test(key));
    expect(moved).toEqual(projections);
    const { inUse } = device.memory();
    await finish(trainRefl(options({ lora: { rank: 2 }, steps: 1 })));
    expect(device.memory().inUse).toBe(inUse);
  });
});
