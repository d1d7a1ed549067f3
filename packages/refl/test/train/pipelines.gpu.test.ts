/** How many pipelines a ReFL step of emoji32 compiles: what a start without a shader cache waits for. */
import { BlipRewardModel } from "@refl/models";
import { createDevice, DryDevice } from "@refl/tensor";
import { nodeHost } from "@refl/tensor/node";
import { expect, test } from "vitest";
import {
  ImageReward,
  listExamples,
  modelPreset,
  newPipeline,
  taskNamed,
  taskTokenizer,
  trainRefl,
} from "../../src/index.ts";

/** Of the whole step: sampling, both losses, gradients, clipping, optimiser and average. */
const MOST = 60;

test(`a ReFL step of emoji32 compiles at most ${MOST} pipelines`, async () => {
  const real = await createDevice({ host: nodeHost() });
  const device = new DryDevice(real);
  const task = taskNamed("emoji32");
  const tokenizer = taskTokenizer(task);
  const { blip, rewardHead } = modelPreset(task, tokenizer.vocabSize);
  const model = new BlipRewardModel({ ...blip, ...rewardHead }).initialize(device, 1);
  const prompt = (_seed: number, index: number): string => task.vocabulary[index % task.vocabulary.length]!;
  const rgb = new Uint8Array(3 * task.size ** 2);
  const run = trainRefl({
    pipeline: newPipeline(task, device, 1),
    scorer: new ImageReward(device, model, tokenizer),
    prompt,
    examples: listExamples(
      "grey",
      task.size,
      Array.from({ length: 8 }, (_, i) => ({ caption: prompt(0, i), rgb })),
    ),
    objective: { timestepShift: 3, weighting: { kind: "inverse-variance" } },
    ...{ steps: 1, batchSize: 16, pretrainingBatchSize: 8, lambda: 0.2, pretrainingWeight: 3, rewardNoise: 0.3 },
    ...{ window: 1, samplerSteps: 10, lora: { rank: 8 }, lr: 2e-3, lrSchedule: "constant", warmupSteps: 0 },
    ...{ weightDecay: 0.01, gradientClip: 1, emaDecay: 0.9999, seed: 1, stage: "refl", validation: null },
  });
  await run.next();
  expect(device.counters.pipelines).toBeGreaterThan(20);
  expect(device.counters.pipelines).toBeLessThanOrEqual(MOST);
  device.dispose();
  real.dispose();
});
