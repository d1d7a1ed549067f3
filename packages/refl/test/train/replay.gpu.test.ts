/** The trainers' steps replayed and op by op: metrics, weights, moments and averages are the same bits. */
import { type Device, ReplayedFunction } from "@refl/tensor";
import { afterEach, beforeAll, expect, it, vi } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { shapes16 } from "../../src/data/shapes16.ts";
import type { Run } from "../../src/events.ts";
import { trainBase } from "../../src/train/base.ts";
import { taskExamples } from "../../src/train/examples.ts";
import { type ReflOptions, trainRefl } from "../../src/train/refl.ts";
import { TrainingSession } from "../../src/train/session.ts";
import { finish, metricsOf, savesStates, tinyPipeline, tinyReward } from "./tiny.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});
afterEach(() => void vi.restoreAllMocks());

/** Makes all steps of sessions run op by op. */
function opByOp(): void {
  const { prepare } = TrainingSession.prototype;
  vi.spyOn(TrainingSession.prototype, "prepare").mockImplementation(function (this: TrainingSession, label, losses) {
    return prepare.call(this, label, losses, { eagerCalls: Number.POSITIVE_INFINITY });
  });
}

/** Runs a trainer both ways and compares its metrics and its last state. Returns how many plans the replayed run captured. */
async function compare(run: (save: (state: Uint8Array) => void) => Run<unknown>): Promise<number> {
  const plans = new Set<unknown>();
  const once = async () => {
    let state: Uint8Array | undefined;
    const { events } = await finish(
      run((saved) => {
        state = saved;
      }),
    );
    return { metrics: metricsOf(events), state };
  };
  const { call } = ReplayedFunction.prototype;
  vi.spyOn(ReplayedFunction.prototype, "call").mockImplementation(function (
    this: ReplayedFunction<never, never, never>,
    ...args
  ) {
    const outputs = call.apply(this, args);
    for (const plan of this.plans) plans.add(plan);
    return outputs;
  });
  const replayed = await once();
  const captured = plans.size;
  opByOp();
  const eager = await once();
  expect(plans.size).toBe(captured);
  expect(replayed.metrics).toEqual(eager.metrics);
  expect(replayed.state).toBeDefined();
  expect(Buffer.compare(replayed.state!, eager.state!)).toBe(0);
  return captured;
}

const common = {
  examples: taskExamples(shapes16),
  objective: { timestepShift: 3, weighting: { kind: "inverse-variance" } },
  lr: 1e-3,
  lrSchedule: "cosine",
  warmupSteps: 2,
  weightDecay: 0.01,
  gradientClip: 1,
  emaDecay: 0.999,
  seed: 5,
} as const;

it.each(["f32", "f16"] as const)("base, %s", async (precision) => {
  const captured = await compare(async function* (save) {
    const pipeline = tinyPipeline(device, 3);
    const options = { ...common, pipeline, precision, steps: 4, batchSize: 2 };
    try {
      return yield* trainBase({ ...options, save: savesStates(4, (_, state) => save(state)) });
    } finally {
      pipeline.dispose();
    }
  });
  expect(captured).toBe(1);
});

it.each([
  { name: "both losses", more: {}, plans: 2 },
  { name: "no reward", more: { lambda: 0, stage: "control" }, plans: 1 },
  { name: "no pre-training loss", more: { pretrainingBatchSize: 0, lambda: 1.5 }, plans: 2 },
  { name: "adapters", more: { lora: { rank: 2 } }, plans: 2 },
  { name: "f16", more: { precision: "f16" }, plans: 2 },
] as const)("ReFL, $name", async ({ more, plans }) => {
  const captured = await compare(async function* (save) {
    const pipeline = tinyPipeline(device, 2);
    const scorer = tinyReward(device);
    const options: ReflOptions = {
      ...common,
      pipeline,
      scorer,
      prompt: (seed, index) => taskExamples(shapes16).example(seed, index).caption,
      steps: 6,
      batchSize: 2,
      pretrainingBatchSize: 2,
      lambda: 0.2,
      pretrainingWeight: 3,
      rewardNoise: 0.5,
      window: 2,
      samplerSteps: 4,
      lora: null,
      stage: "refl",
      validation: null,
      save: savesStates(6, (_, state) => save(state)),
      ...more,
    };
    try {
      return yield* trainRefl(options);
    } finally {
      pipeline.dispose();
      scorer.model.dispose();
    }
  });
  expect(captured).toBe(plans);
});
