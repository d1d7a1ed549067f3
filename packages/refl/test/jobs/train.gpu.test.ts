/** The training jobs from config to checkpoints in a run's place: resume bit for bit, and models that open again. */
import { type ModelFolder, memoryFolder, TextToImagePipeline } from "@refl/models";
import type { Device } from "@refl/tensor";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { resolveConfig, trainBaseConfig, trainReflConfig, trainRewardConfig } from "../../src/config/index.ts";
import { plainSource } from "../../src/config/source.ts";
import { runTrainBase } from "../../src/jobs/base.ts";
import type { JobContext } from "../../src/jobs/context.ts";
import { weightsDigest } from "../../src/jobs/digest.ts";
import { runTrainRefl } from "../../src/jobs/refl.ts";
import { runTrainReward } from "../../src/jobs/reward.ts";
import { loadRewardModel, saveRewardModel, type TaskModels } from "../../src/models.ts";
import { recordRun } from "../../src/run/record.ts";
import { STATE_FILE } from "../../src/train/session.ts";
import { finish, firstDifference, MemorySink, metricsOf, tinyModels, tinyReward } from "../train/tiny.ts";

let device: Device;
let sink: MemorySink;
let shipped: TaskModels;
let reward: ModelFolder;
beforeAll(async () => {
  device = await testDevice();
  shipped = await tinyModels(device);
  const folder = memoryFolder(new Map(), "reward");
  const scorer = tinyReward(device);
  await saveRewardModel(scorer, folder);
  scorer.model.dispose();
  reward = folder;
});
beforeEach(() => {
  sink = new MemorySink();
});

const context = (signal?: AbortSignal): JobContext => ({
  device,
  sink,
  open: async () => reward,
  shipped: async () => shipped,
  ...(signal ? { signal } : {}),
});

describe("runTrainBase", () => {
  const values = { task: "shapes16", seed: 3, steps: 6, batchSize: 2, warmupSteps: 2, saveEvery: 3, sampleEvery: 4 };
  const config = resolveConfig(trainBaseConfig, [plainSource({ ...values, samplerSteps: 2 }, "test")]);
  const run = (resume: boolean, signal?: AbortSignal) =>
    recordRun(runTrainBase(config, context(signal), { resume }), sink);

  it("goes on after a stop as if there had been none", async () => {
    const before = device.memory().inUse;
    const straight = await finish(run(false));
    const whole = sink;
    expect(straight.result).toMatchObject({ steps: 6, loss: metricsOf(straight.events)[5]!["loss"] });
    expect([...whole.checkpoints.keys()]).toEqual([3, 6]);
    expect([...whole.samples.keys()]).toEqual(["base-4", "base-6"]);

    sink = new MemorySink();
    const stop = new AbortController();
    const stopped = await finish(run(false, stop.signal), (event) => {
      if (event.type === "step" && event.step === 4) stop.abort();
    });
    expect(stopped.result.steps).toBe(4);
    expect([...sink.checkpoints.keys()]).toEqual([3, 4]);
    const resumed = await finish(run(true));
    expect(resumed.result).toEqual(straight.result);
    expect(sink.metrics).toEqual(whole.metrics);
    expect(sink.metrics).toHaveLength(6);
    expect(sink.samples.get("base-6")).toEqual(whole.samples.get("base-6"));
    const [files, wanted] = [sink.checkpoints.get(6)!, whole.checkpoints.get(6)!];
    expect(Object.keys(files)).toEqual(Object.keys(wanted));
    expect(Object.keys(files)).toEqual(expect.arrayContaining(["model_index.json", STATE_FILE]));
    for (const [path, bytes] of Object.entries(wanted)) expect(firstDifference(files[path]!, bytes), path).toBe(-1);
    // A finished run has nothing left to do.
    const again = await finish(run(true));
    expect(metricsOf(again.events)).toEqual([]);
    expect(device.memory().inUse).toBe(before);

    const model = await TextToImagePipeline.fromFolder(
      await sink.openCheckpoint((await sink.findLatestCheckpoint())!),
      device,
    );
    const drawn = await model.generate({ prompts: ["a big red circle"], seeds: 1, steps: 2 });
    expect(drawn.shape).toEqual([1, 3, 16, 16]);
    drawn.dispose();
    model.dispose();
  });
});

describe("runTrainReward", () => {
  const values = { task: "shapes16", seed: 1, prompts: 6, imagesPerPrompt: 3, epochs: 1, rankingsPerStep: 4 };

  it("draws, ranks, trains and leaves a reward model that opens with its mean and deviation", async () => {
    const config = resolveConfig(trainRewardConfig, [
      plainSource({ ...values, foundPrompts: 4, samplerSteps: 2 }, "test"),
    ]);
    const before = device.memory().inUse;
    const { result, events } = await finish(runTrainReward(config, context()));
    expect(device.memory().inUse).toBe(before);
    const stages = events.filter((event) => event.type === "stage").map(({ stage }) => stage);
    // Shaders are compiled in a stage of their own where no earlier test has done so.
    expect(stages.filter((stage) => stage !== "compile")).toEqual(["generate", "annotate", "reward"]);
    expect(events.at(-1)).toEqual({ type: "result", summary: result });
    const scorer = await loadRewardModel(await sink.openCheckpoint((await sink.findBestCheckpoint())!), device);
    expect(scorer.model.mean).toBe(result.mean);
    expect(scorer.model.std).toBe(result.deviation);
    scorer.model.dispose();
    const second = await finish(runTrainReward(config, context()));
    expect(second.result).toEqual(result);
  });

  it("goes on after a stop as if there had been none, from where the stopped run already had a model", async () => {
    const more = { ...values, foundPrompts: 0, epochs: 2, rankingsPerStep: 2, samplerSteps: 2, saveEvery: 2 };
    const config = resolveConfig(trainRewardConfig, [plainSource(more, "test")]);
    const straight = await finish(recordRun(runTrainReward(config, context()), sink));
    const whole = sink;
    const last = (await whole.findLatestCheckpoint())!;
    expect([...whole.checkpoints.keys()]).toEqual([2, 4, 6]);
    expect(last).toEqual(await whole.findBestCheckpoint());

    sink = new MemorySink();
    const stop = new AbortController();
    await finish(recordRun(runTrainReward(config, context(stop.signal)), sink), (event) => {
      if (event.type === "step" && event.stage === "reward" && event.step === 3) stop.abort();
    });
    expect([...sink.checkpoints.keys()]).toEqual([2, 3]);
    const early = await loadRewardModel(await sink.openCheckpoint((await sink.findBestCheckpoint())!), device);
    early.model.dispose();
    await sink.truncateMetrics("reward", 3);
    const resumed = await finish(recordRun(runTrainReward(config, context(), { resume: true }), sink));
    expect(resumed.result).toEqual(straight.result);
    const learnt = ({ metrics }: MemorySink) => metrics.filter(({ stage }) => stage === "reward");
    expect(learnt(sink)).toEqual(learnt(whole));
    const [files, wanted] = [sink.checkpoints.get(last.step)!, whole.checkpoints.get(last.step)!];
    expect(Object.keys(files)).toEqual(Object.keys(wanted));
    expect(Object.keys(files)).toEqual(expect.arrayContaining(["model.safetensors", STATE_FILE]));
    for (const [path, bytes] of Object.entries(wanted)) expect(firstDifference(files[path]!, bytes), path).toBe(-1);
  });
});

describe("runTrainRefl", () => {
  const values = {
    task: "shapes16",
    seed: 1,
    reward: "reward",
    steps: 4,
    batchSize: 2,
    pretrainingBatchSize: 2,
    saveEvery: 2,
  };
  const config = resolveConfig(trainReflConfig, [
    plainSource({ ...values, samplerSteps: 2, window: 2, lr: 1e-3, earlyStop: { everySteps: 2 } }, "test"),
  ]);

  it("shows the same prompts and seeds before, during and after, and goes on showing them when it is resumed", async () => {
    const shown = resolveConfig(trainReflConfig, [plainSource({ ...config, sampleEvery: 3, earlyStop: null }, "test")]);
    await finish(recordRun(runTrainRefl(shown, context()), sink));
    const whole = sink;
    const names = ["refl-0", "refl-3", "refl-4", "control-0", "control-3", "control-4"];
    expect([...whole.samples.keys()]).toEqual(names);
    const grid = (name: string) => whole.samples.get(name)!;
    expect(grid("control-0")).toEqual(grid("refl-0"));
    for (const name of names) expect(grid(name).captions).toEqual(grid("refl-0").captions);
    expect(firstDifference(grid("refl-4").rgb, grid("refl-0").rgb)).not.toBe(-1);

    sink = new MemorySink();
    const stop = new AbortController();
    await finish(recordRun(runTrainRefl(shown, context(stop.signal)), sink), (event) => {
      if (event.type === "step" && event.step === 2) stop.abort();
    });
    await finish(recordRun(runTrainRefl(shown, context(), { resume: true }), sink));
    expect([...sink.samples.keys()]).toEqual(names);
    for (const name of names) expect(sink.samples.get(name), name).toEqual(grid(name));
  });

  it("tunes both arms, resumes to the same bits, and leaves the model and its control", async () => {
    const straight = await finish(runTrainRefl(config, context()));
    const whole = sink;
    expect(Object.keys(straight.result)).toEqual(["refl", "control"]);
    expect(straight.result.refl!.curve.map(({ step }) => step)).toEqual([0, 2, 4]);
    expect(straight.result.control!.curve[0]).toEqual(straight.result.refl!.curve[0]);
    expect(whole.files.has("control/model_index.json")).toBe(true);

    sink = new MemorySink();
    const stop = new AbortController();
    const stopped = await finish(runTrainRefl(config, context(stop.signal)), (event) => {
      if (event.type === "step" && event.step === 2) stop.abort();
    });
    expect(Object.keys(stopped.result)).toEqual(["refl"]);
    expect([...sink.checkpoints.keys()]).toEqual([2]);
    const resumed = await finish(runTrainRefl(config, context(), { resume: true }));
    expect(resumed.result).toEqual(straight.result);
    const [found, wanted] = [sink.checkpoints.get(4)!, whole.checkpoints.get(4)!];
    for (const [path, bytes] of Object.entries(wanted)) expect(firstDifference(found[path]!, bytes), path).toBe(-1);
    // A run that ended in its control has the tuned arm's state and makes the control anew.
    const again = await finish(runTrainRefl(config, context(), { resume: true }));
    expect(again.result).toEqual(straight.result);
    const stepped = again.events.flatMap((event) => (event.type === "step" ? [event.stage] : []));
    expect(new Set(stepped)).toEqual(new Set(["control"]));
    const model = await TextToImagePipeline.fromFolder(
      await sink.openCheckpoint((await sink.findBestCheckpoint())!),
      device,
    );
    const base = await TextToImagePipeline.fromFolder(shipped.base, device);
    expect(await weightsDigest(model.textEncoder)).toBe(await weightsDigest(base.textEncoder));
    model.dispose();
    base.dispose();
  });
});
