/** Training the base model: the same seed gives the same bits, and a resumed run is the uninterrupted one bit for bit. */
import { bytesSource, memoryFolder, openSafetensors, readTensors, type TextToImagePipeline } from "@refl/models";
import { CheckpointError, type Device, DivergedError } from "@refl/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { shapes16 } from "../../src/data/shapes16.ts";
import { type BaseOptions, trainBase } from "../../src/train/base.ts";
import { taskExamples } from "../../src/train/examples.ts";
import { STATE_FILE } from "../../src/train/session.ts";
import { finish, firstDifference, metricsOf, savesStates, stateFolder, tinyPipeline } from "./tiny.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

const STEPS = 10;

const options = (pipeline: TextToImagePipeline): BaseOptions => ({
  pipeline,
  examples: taskExamples(shapes16),
  objective: { timestepShift: 3, weighting: { kind: "inverse-variance" } },
  steps: STEPS,
  batchSize: 2,
  lr: 1e-3,
  lrSchedule: "cosine",
  warmupSteps: 3,
  weightDecay: 0.01,
  gradientClip: 1,
  emaDecay: 0.999,
  seed: 5,
});

/** One run from fresh weights: its metrics, the states that it saved by step, and the weights that it left. */
async function train(more: Partial<BaseOptions> = {}, stopAfter = STEPS) {
  const pipeline = tinyPipeline(device, 3);
  const states = new Map<number, Uint8Array>();
  const stop = new AbortController();
  const run = trainBase({
    ...options(pipeline),
    save: savesStates(STEPS, (step, state) => states.set(step, state)),
    signal: stop.signal,
    ...more,
  });
  try {
    const { result, events } = await finish(run, (event) => {
      if (event.type === "step" && event.step === stopAfter) stop.abort();
    });
    const weights = await readTensors([...pipeline.unet.parameters(), ...pipeline.textEncoder.parameters()]);
    return { result, metrics: metricsOf(events), events, states, weights: weights.flatMap((list) => [...list]) };
  } finally {
    pipeline.dispose();
  }
}

describe("trainBase", () => {
  it("gives the same bits from the same seed, and the same bits after a stop and a resume", async () => {
    const before = device.memory().inUse;
    const straight = await train();
    expect(straight.result.steps).toBe(STEPS);
    expect(straight.metrics).toHaveLength(STEPS);
    expect(straight.events.filter((event) => event.type === "checkpoint")).toHaveLength(1);

    const first = await train({}, 6);
    expect(first.result.steps).toBe(6);
    expect([...first.states.keys()]).toEqual([6]);
    expect(first.metrics).toEqual(straight.metrics.slice(0, 6));
    const second = await train({ resume: stateFolder(first.states.get(6)!) });
    expect(second.result).toEqual(straight.result);
    expect([...first.metrics, ...second.metrics]).toEqual(straight.metrics);
    // The state holds the weights, AdamW's moments, the average and the step.
    expect(firstDifference(second.states.get(STEPS)!, straight.states.get(STEPS)!)).toBe(-1);
    expect(firstDifference(second.weights, straight.weights)).toBe(-1);
    expect(firstDifference(first.weights, straight.weights)).not.toBe(-1);
    expect(device.memory().inUse).toBe(before);

    const other = await train({ seed: 6, steps: 1 });
    expect(other.metrics[0]!["loss"]).not.toBe(straight.metrics[0]!["loss"]);
  });

  it("refuses the state of another run and gives its memory back", async () => {
    const before = device.memory().inUse;
    const state = new TextEncoder().encode("not a state");
    await expect(train({ resume: stateFolder(state, "step-6") })).rejects.toThrow(CheckpointError);
    await expect(train({ resume: memoryFolder(new Map(), "step-6") })).rejects.toThrow(
      `step-6/${STATE_FILE}: does not exist`,
    );
    expect(device.memory().inUse).toBe(before);
  });

  const NAN_PICTURE = new Float32Array(3 * 16 * 16).fill(Number.NaN) as unknown as Uint8Array;
  it.each([
    ["picture", "the gradient of unet.conv_in.weight"],
    ["weight", "the weight unet.conv_out.bias"],
  ])("stops at a %s that is no number, and the other weights never see it", async (what, tensor) => {
    const pipeline = tinyPipeline(device, 3);
    const weights = pipeline.unet.namedParameters();
    const good = taskExamples(shapes16);
    const states: Uint8Array[] = [];
    const run = trainBase({
      ...options(pipeline),
      examples: {
        ...good,
        example: (seed, index) => {
          const example = good.example(seed, index);
          // Pictures 4 and 5 are the third step's.
          if (index !== 4) return example;
          if (what === "picture") return { ...example, rgb: NAN_PICTURE };
          weights.get("conv_out.bias")!.fill_(Number.NaN);
          return example;
        },
      },
      save: savesStates(2, (_, state) => states.push(state)),
    });
    const steps: number[] = [];
    const ended = finish(run, (event) => event.type === "step" && steps.push(event.step));
    await expect(ended).rejects.toMatchObject({ constructor: DivergedError, tensor, step: 3 });
    expect(steps).toEqual([1, 2]);
    expect(states).toHaveLength(1);
    const saved = await openSafetensors(bytesSource(states[0]!, "state"));
    const poisoned = what === "weight" ? "conv_out.bias" : null;
    const keys = [...weights.keys()].filter((key) => key !== poisoned);
    const values = await readTensors(keys.map((key) => weights.get(key)!));
    for (const [i, key] of keys.entries()) {
      const before = new Float32Array((await saved.read(`weight.unet.${key}`)).bytes.slice().buffer);
      expect(firstDifference(values[i]!, before)).toBe(-1);
    }
    pipeline.dispose();
  });
});
