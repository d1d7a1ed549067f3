/** 100 steps of reward training and of ReFL against the same in PyTorch (`reference/`): every step's losses, and that small errors would show. */
import { AdamW } from "@refl/autograd";
import type { Device } from "@refl/tensor";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import type { Run } from "../../src/events.ts";
import { goldenRefl, goldenReward, reflRun, rewardRun } from "./reference-run.ts";

/** Largest |loss − golden| / |golden| of a step. */
const BOUND = 1e-3;

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});
afterEach(() => {
  vi.restoreAllMocks();
});

type Curves = Readonly<Record<string, readonly number[]>>;

interface Deviation {
  readonly steps: number;
  /** The largest by loss. */
  readonly largest: Record<string, number>;
  /** The first step, from 1, that lies outside the bound. */
  readonly firstBad: number | null;
}

/** Follows a run as long as it lies within the bound. */
async function compare({ run, dispose }: { run: Run<unknown>; dispose: () => void }, golden: Curves) {
  const largest: Record<string, number> = {};
  let steps = 0;
  let firstBad: number | null = null;
  try {
    for await (const event of run) {
      if (event.type !== "step") continue;
      for (const [name, losses] of Object.entries(golden)) {
        const expected = losses[steps]!;
        const error = Math.abs(event.metrics[name]! - expected) / Math.abs(expected);
        largest[name] = Math.max(largest[name] ?? 0, error);
        if (!(error <= BOUND)) firstBad ??= event.step;
      }
      steps++;
      if (firstBad !== null) break;
    }
  } finally {
    dispose();
  }
  return { steps, largest, firstBad } satisfies Deviation;
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
/** Of the last ten steps' loss to the first ten's. */
const fall = (losses: readonly number[]): number => mean(losses.slice(-10)) / mean(losses.slice(0, 10));

function report(name: string, { largest }: Deviation): void {
  const text = Object.entries(largest).map(([loss, error]) => `${loss} ${error.toExponential(1)}`);
  console.log(`${name} against PyTorch, largest relative difference of 100 steps: ${text.join(", ")}`);
}

describe("100 steps against PyTorch", () => {
  it("the golden curves are of runs that learn", () => {
    expect(fall(goldenReward.curves["loss"]!)).toBeLessThan(0.9);
    expect(fall(goldenRefl.curves["rewardLoss"]!)).toBeLessThan(0.9);
    expect(fall(goldenRefl.curves["pretrainingLoss"]!)).toBeLessThan(0.9);
  });

  it("the reward model's pair loss", async () => {
    const seen = await compare(rewardRun(device), goldenReward.curves);
    report("reward training", seen);
    expect(seen).toMatchObject({ steps: 100, firstBad: null });
  });

  it("ReFL's reward loss and pre-training loss", async () => {
    const seen = await compare(reflRun(device), goldenRefl.curves);
    report("ReFL", seen);
    expect(seen).toMatchObject({ steps: 100, firstBad: null });
  });
});

describe("what the bound notices", () => {
  /** Lets the optimiser do something else than AdamW before each step. */
  function meddle(change: (optimizer: AdamW) => void): void {
    const prepare = AdamW.prototype.prepare;
    vi.spyOn(AdamW.prototype, "prepare").mockImplementation(function (this: AdamW) {
      change(this);
      prepare.call(this);
    });
  }

  it.each([
    ["no weight decay", { weightDecay: 0 }],
    ["a β2 of 0.99", { betas: [0.9, 0.99] as const }],
    ["an ε of 1e-5", { eps: 1e-5 }],
  ])("reward training with %s", async (_, change) => {
    meddle((optimizer) => Object.assign(optimizer.options, change));
    expect((await compare(rewardRun(device), goldenReward.curves)).firstBad).not.toBeNull();
  });

  it("reward training without bias correction", async () => {
    // So late both corrections are 1.
    meddle((optimizer) => void (optimizer.steps += 20_000));
    expect((await compare(rewardRun(device), goldenReward.curves)).firstBad).not.toBeNull();
  });

  it("ReFL with a clip threshold that is a hundredth higher", async () => {
    const gradientClip = goldenRefl.training.gradientClip * 1.01;
    expect((await compare(reflRun(device, { gradientClip }), goldenRefl.curves)).firstBad).not.toBeNull();
  });
});
