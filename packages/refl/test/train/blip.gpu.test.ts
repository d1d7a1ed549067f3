/** BLIP's pre-training: where its losses begin, that they fall, and that the seed alone decides. */
import type { Device } from "@refl/tensor";
import { beforeAll, expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { shapes16 } from "../../src/data/shapes16.ts";
import { weightsDigest } from "../../src/jobs/digest.ts";
import { taskTokenizer } from "../../src/models.ts";
import { pretrainBlip } from "../../src/train/blip.ts";
import { type ExampleSource, listExamples, taskExamples } from "../../src/train/examples.ts";
import { finish, metricsOf, tinyBlip } from "./tiny.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

const BATCH = 8;

/** Four pictures whose captions share no attribute. */
const few = ["circle red black big", "cross green pink small", "ring yellow blue big", "square cyan white small"].map(
  (words) => {
    const [shape, colour, background, size] = words.split(" ") as [string, string, string, string];
    const attributes = { shape, colour, background, size };
    return { rgb: shapes16.render(attributes), caption: shapes16.captionOf(attributes) };
  },
);

async function pretrain(steps: number, seed = 1, examples: ExampleSource = taskExamples(shapes16)) {
  const model = tinyBlip(device, 1);
  const tokenizer = taskTokenizer(shapes16);
  const run = pretrainBlip({
    device,
    model,
    tokenizer,
    examples,
    steps,
    batchSize: BATCH,
    lr: 3e-3,
    warmupSteps: 50,
    noise: 0,
    hardNegatives: 0.5,
    seed,
  });
  const { result, events } = await finish(run);
  const digest = await weightsDigest(model);
  const { training } = model;
  model.dispose();
  return { result, metrics: metricsOf(events), digest, training };
}

it("begins with guesses, learns, and gives its memory back", async () => {
  const before = device.memory().inUse;
  const { metrics, result, training } = await pretrain(40, 1, listExamples("few", 16, few));
  expect(training).toBe(false);
  const [first] = metrics;
  // Fresh towers know nothing: the losses are those of guesses.
  expect(first!["contrastiveLoss"]).toBeGreaterThan(0.7 * Math.log(BATCH));
  expect(first!["matchingLoss"]).toBeGreaterThan(0.9 * Math.LN2);
  expect(first!["accuracy"]).toBeCloseTo(0.5, 0);
  expect(first!["loss"]).toBeCloseTo(first!["contrastiveLoss"]! + first!["matchingLoss"]!, 5);
  const mean = (from: number, to: number) => {
    const losses = metrics.slice(from, to).map((m) => m["loss"]!);
    return losses.reduce((a, b) => a + b, 0) / losses.length;
  };
  expect(mean(30, 40)).toBeLessThan(0.9 * mean(0, 5));
  const tail = metrics.slice(-4).map((m) => m["accuracy"]!);
  expect(result.matchingAccuracy).toBeCloseTo(tail.reduce((a, b) => a + b, 0) / 4, 12);
  expect(device.memory().inUse).toBe(before);
});

it("is a function of the seed", async () => {
  const [one, two, other] = [await pretrain(2), await pretrain(2), await pretrain(2, 9)];
  expect(two).toEqual(one);
  expect(other.digest).not.toBe(one.digest);
});

it("takes pictures of one caption as positives of each other, which leaves nothing to tell apart", async () => {
  const pictures = [0, 90, 180].map((grey) => ({ rgb: new Uint8Array(768).fill(grey), caption: "a ring" }));
  const { metrics } = await pretrain(1, 1, listExamples("rings", 16, pictures));
  // Every target is 1 / B, and a caption cannot be wrong: the answer is yes throughout.
  expect(metrics[0]!["contrastiveLoss"]).toBeGreaterThanOrEqual(Math.log(BATCH) - 1e-4);
});
