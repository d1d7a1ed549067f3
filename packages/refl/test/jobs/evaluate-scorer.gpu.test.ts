/** `eval rankings` and `eval models` with a scorer: each picture once, its own prompts, and nothing left in memory. */
import { memoryFolder } from "@refl/models";
import type { Device } from "@refl/tensor";
import { beforeAll, expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { evaluateModelsConfig, evaluateRankingsConfig, resolveConfig } from "../../src/config/index.ts";
import { plainSource } from "../../src/config/source.ts";
import type { JobContext } from "../../src/jobs/context.ts";
import { evaluateModels, modelsTable, scoreModels } from "../../src/jobs/evaluate-models.ts";
import { evaluateRankings, rankingsTable, scoreComparisons } from "../../src/jobs/evaluate-rankings.ts";
import { saveRewardModel } from "../../src/models.ts";
import { finish, tinyReward } from "../train/tiny.ts";

let device: Device;
let context: JobContext;
beforeAll(async () => {
  device = await testDevice();
  const folder = memoryFolder(new Map(), "reward");
  using reward = tinyReward(device, { textScale: 0.1 });
  await saveRewardModel(reward, folder);
  context = { device, sink: null, open: async () => folder, shipped: () => Promise.reject(new Error("not asked")) };
});

const picture = (tint: number) => ({
  width: 16,
  height: 16,
  rgb: Uint8Array.from({ length: 768 }, (_, i) => (i * (tint + 3)) % 256),
});

const comparisons = [
  { id: "0", prompt: "a big red circle", generations: ["1", "2", "3"], ranking: [1, 2, 2] },
  { id: "1", prompt: "a small blue square", generations: ["3", "1"], ranking: [2, 1] },
];

it("scores the pictures of rankings, each read once", async () => {
  const before = device.memory().inUse;
  const read: string[] = [];
  const files = {
    pathOf: (name: string) => `f/${name}`,
    read: async (path: string) => {
      read.push(path);
      return picture(Number(path.slice(2)));
    },
  };
  const config = resolveConfig(evaluateRankingsConfig, [
    plainSource({ comparisons: "c.json", model: "reward" }, "test"),
  ]);
  const { result: scores } = await finish(scoreComparisons(config, comparisons, files, context));
  expect(read.sort()).toEqual(["f/1", "f/2", "f/3"]);
  expect(scores.map(({ length }) => length)).toEqual([3, 2]);
  // The same picture for another prompt has another score.
  expect(scores[0]![0]).not.toBe(scores[1]![1]);
  const result = evaluateRankings(comparisons, scores, { ...config, seed: 0 });
  expect(result).toMatchObject({ rankings: 2, pairs: 3, ties: 1 });
  const table = rankingsTable(result);
  expect(table.rows.map(([name]) => name)).toEqual([
    "preference accuracy",
    ...[1, 2, 4].map((k) => `recall@${k}`),
    ...[1, 2, 4].map((k) => `filter@${k}`),
  ]);
  expect(table.rows[3]![1]).toBe("–");
  expect(device.memory().inUse).toBe(before);
  const { model: _model, ...without } = config;
  await expect(finish(scoreComparisons(without, comparisons, files, context))).rejects.toThrow(/model: missing/);
});

it("scores models' pictures beside scores from files", async () => {
  const inputs = [1, 2, 3, 4].map((k) => ({
    file: `m/${k}`,
    prompts: [k < 3 ? "a big red circle" : "a small blue square"],
    read: () => picture(k),
  }));
  const models = [
    { name: "drawn", inputs },
    { name: "known", scores: [{ id: "0", prompt: "x", rewards: [50, 70] }] },
  ];
  const config = resolveConfig(evaluateModelsConfig, [plainSource({ model: "reward" }, "test")]);
  const { result: scores } = await finish(scoreModels(config, models, context));
  expect(scores.map(({ groups }) => groups.map(({ length }) => length))).toEqual([[2, 2], [2]]);
  const result = evaluateModels(scores, [2, 1], { ...config, seed: 0 });
  expect(result.spearman).toBeCloseTo(1, 12);
  expect(modelsTable(result)).toMatchObject({
    title: "Models (Spearman to people's ranks: 1.00)",
    header: ["model", "rank", "people's", "mean score", "best of 2", "pictures"],
    rows: [
      ["known", 1, 1, "60.000 [60.000, 60.000]", "70.000 [70.000, 70.000]", 2],
      ["drawn", 2, 2, expect.any(String), expect.any(String), 4],
    ],
  });
  const bare = resolveConfig(evaluateModelsConfig, []);
  await expect(finish(scoreModels(bare, models, context))).rejects.toThrow(/model: missing/);
});
