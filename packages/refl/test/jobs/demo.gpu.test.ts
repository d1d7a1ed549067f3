/** The whole loop with untrained models and a handful of steps: a valid summary, the same numbers twice, and nothing left behind. */
import type { Device } from "@refl/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { demoConfig, resolveConfig } from "../../src/config/index.ts";
import { plainSource } from "../../src/config/source.ts";
import type { JobContext } from "../../src/jobs/context.ts";
import { runDemo } from "../../src/jobs/demo.ts";
import type { TaskModels } from "../../src/models.ts";
import { ARMS, checkSummary, type DemoSummary, formatSummary, parseSummary } from "../../src/report/summary.ts";
import { finish, tinyModels } from "../train/tiny.ts";

let device: Device;
let models: TaskModels;
beforeAll(async () => {
  device = await testDevice();
  models = await tinyModels(device);
});

const config = resolveConfig(demoConfig, [
  plainSource(
    {
      ...{ task: "shapes16", seed: 2, prompts: 6, imagesPerPrompt: 2, evaluationPictures: 6, samplerSteps: 2 },
      reward: { epochs: 1, rankingsPerStep: 4 },
      refl: { steps: 2, batchSize: 2, pretrainingBatchSize: 2, window: 2, lr: 1e-3, earlyStop: { everySteps: 1 } },
    },
    "test",
  ),
]);

const context = (signal?: AbortSignal): JobContext => ({
  device,
  sink: null,
  shipped: async () => models,
  open: async () => {
    throw new Error("the demo opens nothing");
  },
  hostPeakBytes: () => 12345,
  versions: { refl: "1.2.3" },
  ...(signal ? { signal } : {}),
});

describe("runDemo", () => {
  it("gives a valid summary and the same numbers twice", async () => {
    const start = device.memory().inUse;
    const { result, events } = await finish(runDemo(config, context()));
    const { summary, pictures } = result;
    expect(device.memory().inUse).toBe(start);
    expect(parseSummary(formatSummary(summary))).toEqual(JSON.parse(JSON.stringify(summary)));
    expect(checkSummary(summary)).toMatchObject({ task: "shapes16", taste: "judge", seed: 2 });
    expect(summary.peakBytes.host).toBe(12345);
    expect(summary.peakBytes.device).toBeGreaterThan(0);
    const stages = ["load", "generate", "annotate", "reward", "refl", "control", "evaluate"] as const;
    const { total, ...each } = summary.seconds;
    expect(Object.keys(each).filter((stage) => stage !== "compile")).toEqual([...stages]);
    // Undefined where earlier tests of the same device had all shaders compiled.
    if (each["compile"] !== undefined) expect(each["compile"]).toBeGreaterThan(0);
    expect(Object.values(each).reduce((a, b) => a + b, 0)).toBeLessThan(total);
    const told = events.flatMap((event) => (event.type === "stage" ? [event.stage] : []));
    expect([...new Set(told)].filter((stage) => stage !== "compile")).toEqual([...stages]);
    const ends: Record<string, number> = {};
    for (const event of events)
      if (event.type === "stage-end") ends[event.stage] = (ends[event.stage] ?? 0) + event.seconds;
    for (const [stage, seconds] of Object.entries(each)) expect(seconds, stage).toBeCloseTo(ends[stage]!, 6);
    expect(summary.rewardModel.heldOutPairs).toBeGreaterThan(0);
    for (const arm of ARMS) {
      expect(summary[arm].seen.pictures).toBe(6);
      expect(summary[arm].unseen.parts["frechet"]).toBeDefined();
    }
    expect(summary.curves.refl.map(({ step }) => step)).toEqual([0, 1, 2]);
    expect(summary.curves.control[0]).toEqual(summary.curves.refl[0]);
    expect(new Set(Object.values(summary.checkpoints)).size).toBeGreaterThan(1);
    expect(pictures).toHaveLength(12);
    for (const { images, scores, kind } of pictures) {
      expect(["seen", "unseen"]).toContain(kind);
      expect(Object.keys(images)).toEqual([...ARMS]);
      expect(images.refl.rgb).toHaveLength(768);
      for (const score of Object.values(scores!)) expect(score).toBeGreaterThanOrEqual(0);
    }
    expect(events.at(-1)).toEqual({ type: "result", summary });

    const again = (await finish(runDemo(config, context()))).result;
    const timeless = ({ createdAt: _at, seconds: _seconds, peakBytes: _peak, ...rest }: DemoSummary) => rest;
    expect(timeless(again.summary)).toEqual(timeless(summary));
    expect(again.pictures).toEqual(pictures);
    expect(device.memory().inUse).toBe(start);
  });

  it("gives its memory back when it is stopped", async () => {
    const start = device.memory().inUse;
    for (const stage of ["generate", "refl"]) {
      const stop = new AbortController();
      const run = finish(runDemo(config, context(stop.signal)), (event) => {
        if (event.type === "step" && event.stage === stage) stop.abort();
      });
      await expect(run).rejects.toMatchObject({ name: "AbortError" });
      expect(device.memory().inUse).toBe(start);
    }
  });
});
