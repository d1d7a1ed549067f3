/** `eval`: the judges' view by kind of prompts, the unused word order apart, and the same numbers twice. */
import { memoryFolder } from "@refl/models";
import type { Device } from "@refl/tensor";
import { beforeAll, expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { evaluateConfig, resolveConfig } from "../../src/config/index.ts";
import { plainSource } from "../../src/config/source.ts";
import type { JobContext } from "../../src/jobs/context.ts";
import { runEvaluate } from "../../src/jobs/evaluate.ts";
import { saveRewardModel } from "../../src/models.ts";
import { evaluationTables } from "../../src/report/table.ts";
import { finish, tinyModels, tinyReward } from "../train/tiny.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

it("judges seen, unseen and reordered prompts, with rewards and the best of several where a reward model is named", async () => {
  const models = await tinyModels(device);
  const folder = memoryFolder(new Map(), "reward");
  const reward = tinyReward(device);
  await saveRewardModel(reward, folder);
  reward.model.dispose();
  const before = device.memory().inUse;
  const context: JobContext = { device, sink: null, shipped: async () => models, open: async () => folder };
  const values = { task: "shapes16", pictures: 6, samplerSteps: 2, reward: "reward" };
  const config = resolveConfig(evaluateConfig, [plainSource(values, "test")]);
  const { result, events } = await finish(runEvaluate(config, context));
  expect(device.memory().inUse).toBe(before);
  expect(result).toMatchObject({ task: "shapes16", taste: "judge" });
  expect(result.model).toMatch(/^[0-9a-f]{64}$/);
  for (const view of [result.judged.seen, result.judged.unseen, result.wordOrder]) {
    expect(view.pictures).toBe(6);
    expect(view.parts).toHaveProperty("recognised");
    expect(Number.isFinite(view.reward)).toBe(true);
  }
  // Other words from the same seeds are other pictures.
  expect(result.wordOrder.reward).not.toBe(result.judged.seen.reward);
  const stages = events.flatMap((event) =>
    event.type === "stage" && event.stage === "evaluate" ? [event.message] : [],
  );
  expect(stages).toEqual(["unseen prompts", "seen prompts", "seen prompts in an unused word order"]);
  expect(events.at(-1)).toEqual({ type: "result", summary: result });

  const [view, words] = evaluationTables(result.judged, result.wordOrder);
  expect(view!.header).toHaveLength(3);
  expect(words!.header).toEqual(["", "trained word orders", "unused word order"]);
  for (const table of [view!, words!]) {
    expect(table.rows[0]![0]).toBe("score");
    expect(table.rows[1]![0]).toBe("reward");
    for (const row of table.rows) expect(row).toHaveLength(3);
  }

  const view0 = result.judged.seen;
  expect(view0.rewardInterval!.low).toBeLessThan(view0.reward!);
  expect(view0.rewardInterval!.high).toBeGreaterThan(view0.reward!);
  expect(view!.rows[1]![1]).toMatch(/^−?\d\.\d{3} \[−?\d\.\d{3}, −?\d\.\d{3}\]$/);
  const chosen = resolveConfig(evaluateConfig, [plainSource({ ...values, bestOf: 3 }, "test")]);
  const best = (await finish(runEvaluate(chosen, context))).result;
  for (const kind of ["seen", "unseen"] as const)
    expect(best.judged[kind].reward!).toBeGreaterThan(result.judged[kind].reward!);

  const { reward: _reward, ...rest } = values;
  const plain = resolveConfig(evaluateConfig, [plainSource(rest, "test")]);
  const again = (await finish(runEvaluate(plain, context))).result;
  const { reward: _mean, rewardInterval: _interval, ...judged } = result.wordOrder;
  expect(again.wordOrder).toEqual(judged);
  const unchosen = resolveConfig(evaluateConfig, [plainSource({ ...rest, bestOf: 2 }, "test")]);
  await expect(finish(runEvaluate(unchosen, context))).rejects.toThrow(/bestOf: 2 needs a reward model/);
});
