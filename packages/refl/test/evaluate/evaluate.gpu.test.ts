/** Drawing in any batch, the second judge, and an arm's judgement, with small models. */
import { ConvClassifier, type TextToImagePipeline } from "@refl/models";
import type { Device } from "@refl/tensor";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { stackPlanes } from "../../src/data/pixels.ts";
import { shapes16 } from "../../src/data/shapes16.ts";
import { trainPrompts } from "../../src/data/splits/train.ts";
import { judgeArm } from "../../src/evaluate/arms.ts";
import { drawPictures } from "../../src/evaluate/pictures.ts";
import { lookAt, SecondJudge, trainClassifier } from "../../src/evaluate/second-judge.ts";
import { weightsDigest } from "../../src/jobs/digest.ts";
import { objectNames, objectOf } from "../../src/judge/augment.ts";
import { tasteNamed } from "../../src/judge/taste.ts";
import { finish, firstDifference, metricsOf, tinyPipeline } from "../train/tiny.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

describe("drawPictures", () => {
  let pipeline: TextToImagePipeline;
  beforeEach(() => {
    pipeline = tinyPipeline(device, 1);
  });
  afterEach(() => pipeline.dispose());

  const prompts = trainPrompts(shapes16, 5, 1).map(({ text }) => text);
  const seeds = [7, 8, 2 ** 31, 10, 7];
  const draw = (batchSize?: number, signal?: AbortSignal) =>
    finish(
      drawPictures(pipeline, prompts, seeds, {
        samplerSteps: 3,
        stage: "evaluate",
        ...(batchSize ? { batchSize } : {}),
        ...(signal ? { signal } : {}),
      }),
    );

  it("gives the same bits in batches of any size", async () => {
    const together = await draw();
    expect(together.result).toHaveLength(5 * 3 * 16 * 16);
    expect(together.events).toEqual([{ type: "step", stage: "evaluate", step: 5, total: 5, metrics: {} }]);
    for (const batchSize of [1, 2, 3]) {
      const { result, events } = await draw(batchSize);
      expect(firstDifference(result, together.result)).toBe(-1);
      expect(events).toHaveLength(Math.ceil(5 / batchSize));
    }
  });

  it("stops after a batch and gives what there is, and all memory back", async () => {
    // The first pictures put the model's constants on the device.
    await draw();
    const before = device.memory().inUse;
    expect((await draw(2, AbortSignal.abort())).result).toHaveLength(0);
    const stop = new AbortController();
    const run = drawPictures(pipeline, prompts, seeds, {
      samplerSteps: 2,
      batchSize: 2,
      stage: "generate",
      signal: stop.signal,
    });
    const { result } = await finish(run, () => stop.abort());
    expect(result).toHaveLength(2 * 3 * 16 * 16);
    expect(device.memory().inUse).toBe(before);
  });
});

describe("the second judge", () => {
  const small = () =>
    new ConvClassifier({ channels: [16, 32, 32], norm_num_groups: 8, num_classes: objectNames(shapes16).length });
  const combinations = shapes16.combinations("train").slice(0, 40);
  const renders = stackPlanes(combinations.map((attributes) => shapes16.render(attributes)));

  it("learns from renders, the same from the same seed", async () => {
    const train = async (steps: number) => {
      const model = small().initialize(device, 1);
      const run = trainClassifier({ device, model, task: shapes16, steps, batchSize: 32, lr: 1e-2, seed: 2 });
      return { model, ...(await finish(run)) };
    };
    const before = device.memory().inUse;
    const { model, result, events } = await train(60);
    const metrics = metricsOf(events);
    expect(metrics).toHaveLength(60);
    expect(metrics.at(-1)!["loss"]).toBeLessThan(0.9 * metrics[0]!["loss"]!);
    const tail = metrics.slice(-6).map((m) => m["accuracy"]!);
    expect(result.accuracy).toBeCloseTo(tail.reduce((a, b) => a + b, 0) / 6, 12);
    // 36 objects: chance is 1 in 36.
    const { recognised } = await new SecondJudge(model, device, shapes16).judge(renders, combinations);
    const share = recognised.reduce((a, b) => a + b, 0) / recognised.length;
    expect(share).toBeGreaterThan(0.1);
    model.dispose();
    const [one, two] = [await train(2), await train(2)];
    expect(metricsOf(two.events)).toEqual(metricsOf(one.events));
    expect(await weightsDigest(two.model)).toBe(await weightsDigest(one.model));
    one.model.dispose();
    two.model.dispose();
    expect(device.memory().inUse).toBe(before);
  });

  it("sees pictures in any number alike and finds renders nearer to renders than noise", async () => {
    const model = small().initialize(device, 3);
    const all = await lookAt(model, device, renders, 16);
    expect(all).toMatchObject({ width: 32 });
    expect(all.labels).toHaveLength(40);
    const some = await lookAt(model, device, renders.subarray(3 * 768, 8 * 768), 16);
    expect(firstDifference(some.features, all.features.slice(3 * 32, 8 * 32))).toBe(-1);
    expect(some.labels).toEqual(all.labels.slice(3, 8));
    const judge = new SecondJudge(model, device, shapes16);
    const asked = combinations;
    const { recognised, frechet } = await judge.judge(renders, asked);
    const right = asked.map((a, i) => Number(objectNames(shapes16)[all.labels[i]!] === objectOf(shapes16, a)));
    expect(recognised).toEqual(right);
    const noise = renders.map((_, i) => (i * 7919) % 2);
    expect((await judge.judge(noise, asked)).frechet).toBeGreaterThan(2 * frechet);

    const taste = tasteNamed("judge", shapes16);
    const judged = await judgeArm(shapes16, taste, { rgb: renders, attributes: asked }, judge);
    expect(judged.score).toBeCloseTo(1, 5);
    expect(judged.pictures).toBe(40);
    const parts = ["score", "judge", "alignment", "vivid", "vividness", "fidelity", "object", "recognised", "frechet"];
    for (const name of [...parts, ...shapes16.axes.map((axis) => axis.name)]) expect(judged.parts).toHaveProperty(name);
    expect(judged.parts).not.toHaveProperty("diversity");
    expect(judged.parts["frechet"]).toEqual({ mean: frechet, standardError: null, count: 40 });
    const twice = { rgb: Float32Array.from([...renders, ...renders]), attributes: [...asked, ...asked] };
    // Every wish was drawn twice alike.
    expect((await judgeArm(shapes16, taste, twice, judge)).parts["diversity"]).toMatchObject({ mean: 0, count: 40 });
    model.dispose();
  });
});
