/** Agreement with people's rankings, best of n, rank correlation, and confidence intervals, by hand, by brute force, and on the real rankings. */
import { DataError } from "@refl/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sharedText } from "../../../models/test/shared-data.ts";
import { parseComparisons } from "../../src/data/comparisons.ts";
import { normalAt, streamOf } from "../../src/data/random.ts";
import { parseScores } from "../../src/data/scores-file.ts";
import {
  estimate,
  estimateMean,
  formatEstimate,
  type IntervalOptions,
  normalQuantile,
} from "../../src/evaluate/intervals.ts";
import {
  expectedBest,
  filterAt,
  preferenceAccuracy,
  recallAt,
  sharedRanks,
  spearman,
} from "../../src/evaluate/metrics.ts";
import { evaluateModels } from "../../src/jobs/evaluate-models.ts";
import { evaluateRankings, scoresOfComparisons } from "../../src/jobs/evaluate-rankings.ts";

const NORMAL: IntervalOptions = { interval: "normal", confidence: 0.95, resamples: 2000, seed: 0 };
const BOOTSTRAP: IntervalOptions = { ...NORMAL, interval: "bootstrap" };

describe("agreement with rankings", () => {
  const prompts = [
    { ranking: [1, 2, 3], scores: [0.9, 0.5, 0.1] },
    { ranking: [2, 1, 2], scores: [0.2, 0.2, 0.7] },
  ];

  it("pools strict pairs, and counts equal scores as wrong", () => {
    // Three right pairs; of the second prompt's two strict pairs one is tied by the scores, the other turned round.
    expect(preferenceAccuracy(prompts)).toEqual({ pairs: 5, correct: 3, accuracy: 0.6 });
    expect(preferenceAccuracy([{ ranking: [1, 1], scores: [1, 2] }]).accuracy).toBeNaN();
  });

  it("asks where the best and the worst pictures are", () => {
    expect(recallAt(prompts, 1)).toEqual({ k: 1, prompts: 2, share: 0.5 });
    // The best of the second prompt shares its score with another, which stands before it.
    expect(recallAt(prompts, 2)).toEqual({ k: 2, prompts: 2, share: 0.5 });
    // One of the two worst pictures of the second prompt is the scorer's best, the other one's score is tied.
    expect(filterAt(prompts, 1)).toEqual({ k: 1, prompts: 2, share: 0.5 });
    expect(filterAt(prompts, 2)).toEqual({ k: 2, prompts: 2, share: 0.75 });
    expect(recallAt(prompts, 3)).toMatchObject({ prompts: 0, share: Number.NaN });
  });

  it("is complete for scores that follow the ranks, and by chance for scores that do not know them", () => {
    const ranked = Array.from({ length: 400 }, (_, i) => {
      const ranking = Array.from({ length: 8 }, (_, k) => 1 + ((k * 3 + i) % 8));
      return { ranking, scores: ranking.map((_, k) => normalAt(1, streamOf("scores"), 8 * i + k)) };
    });
    const perfect = ranked.map(({ ranking }) => ({ ranking, scores: ranking.map((rank) => -rank) }));
    expect(preferenceAccuracy(perfect).accuracy).toBe(1);
    for (const k of [1, 2, 4]) {
      for (const at of [recallAt, filterAt]) {
        expect(at(perfect, k).share).toBe(1);
        expect(Math.abs(at(ranked, k).share - k / 8)).toBeLessThan(0.08);
      }
    }
    expect(Math.abs(preferenceAccuracy(ranked).accuracy - 0.5)).toBeLessThan(0.03);
  });

  it("counts the pairs of the real rankings", (context) => {
    const comparisons = parseComparisons("test.json", sharedText(context, "imagereward/test.json"));
    const scores = comparisons.map(({ ranking }) => ranking.map((rank) => -rank));
    const result = evaluateRankings(comparisons, scores, NORMAL);
    expect(result).toMatchObject({ rankings: 466, pairs: 6399, ties: 831, accuracy: { value: 1, low: 1, high: 1 } });
    expect(result.recall.map(({ prompts }) => prompts)).toEqual([466, 466, 272]);
  });
});

describe("best of n", () => {
  it("is the mean over all choices of n", () => {
    const brute = (scores: readonly number[], n: number): number => {
      const choices = Array.from({ length: 2 ** scores.length }, (_, mask) =>
        scores.filter((_, i) => (mask >> i) & 1),
      ).filter((choice) => choice.length === n);
      return choices.reduce((sum, choice) => sum + Math.max(...choice), 0) / choices.length;
    };
    const lists = fc.array(fc.integer({ min: -50, max: 50 }), { minLength: 1, maxLength: 7 });
    fc.assert(
      fc.property(lists, fc.nat(), (scores, pick) => {
        const n = 1 + (pick % scores.length);
        expect(expectedBest(scores, n)).toBeCloseTo(brute(scores, n), 9);
      }),
    );
    expect(() => expectedBest([1, 2], 3)).toThrow(DataError);
  });
});

describe("rank correlation", () => {
  it("shares ranks among ties, and is that of the ranks", () => {
    expect(sharedRanks([5, 7, 5, 1])).toEqual([2.5, 1, 2.5, 4]);
    expect(spearman([1, 2, 3, 4], [10, 20, 30, 40])).toBe(1);
    expect(spearman([1, 2, 3, 4], [4, 3, 2, 1])).toBe(-1);
    // One neighbouring pair is exchanged: 1 − 6 · 2 / (4 · 15).
    expect(spearman([1, 2, 3, 4], [1, 3, 2, 4])).toBeCloseTo(0.8, 12);
    // With ties, Pearson's correlation of (1.5, 1.5, 3) and (1, 2, 3).
    expect(spearman([3, 3, 1], [9, 8, 7])).toBeCloseTo(Math.sqrt(3) / 2, 12);
    expect(spearman([1, 1], [1, 2])).toBeNaN();
  });
});

describe("confidence intervals", () => {
  it("know the normal distribution's quantiles", () => {
    for (const [p, z] of [
      [0.5, 0],
      [0.975, 1.959963984540054],
      [0.995, 2.5758293035489004],
      [0.01, -2.3263478740408408],
      [0.0001, -3.719016485455709],
    ] as const)
      expect(normalQuantile(p)).toBeCloseTo(z, 7);
  });

  it("are as wide as the standard error says, and the bootstrap's nearly so", () => {
    const groups = Array.from({ length: 200 }, (_, i) => [normalAt(3, streamOf("mean"), i)]);
    const values = groups.flat();
    const mean = values.reduce((a, b) => a + b, 0) / 200;
    const deviation = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / 199);
    const normal = estimateMean(groups, NORMAL);
    expect(normal.value).toBeCloseTo(mean, 12);
    expect((normal.high - normal.low) / 2).toBeCloseTo((1.959964 * deviation) / Math.sqrt(200), 6);
    const bootstrap = estimateMean(groups, BOOTSTRAP);
    expect(bootstrap).toEqual(estimateMean(groups, BOOTSTRAP));
    expect(Math.abs((bootstrap.high - bootstrap.low) / (normal.high - normal.low) - 1)).toBeLessThan(0.1);
    expect(bootstrap.low).toBeLessThan(mean);
    expect(bootstrap.high).toBeGreaterThan(mean);
  });

  it("take pictures of one prompt for one draw, and hold the truth as often as they say", () => {
    // Four pictures of a prompt that have one score are worth one.
    const single = Array.from({ length: 50 }, (_, i) => [normalAt(5, streamOf("prompt"), i)]);
    const four = single.map(([score]) => [score!, score!, score!, score!]);
    expect(estimateMean(four, NORMAL).high).toBeCloseTo(estimateMean(single, NORMAL).high, 12);
    for (const options of [
      { ...NORMAL, confidence: 0.8 },
      { ...BOOTSTRAP, confidence: 0.8, resamples: 200 },
    ]) {
      const held = Array.from({ length: 200 }, (_, trial) => {
        const groups = Array.from({ length: 40 }, (_, i) => {
          const own = normalAt(7, streamOf("trial"), 1000 * trial + i);
          return Array.from(
            { length: 1 + (i % 3) },
            (_, k) => own + normalAt(8, streamOf("picture"), 1000 * trial + i, k),
          );
        });
        const { low, high } = estimateMean(groups, options);
        return low <= 0 && 0 <= high;
      }).filter(Boolean).length;
      expect(held / 200).toBeGreaterThan(0.72);
      expect(held / 200).toBeLessThan(0.88);
    }
  });

  it("are a point for one prompt, and nothing for none", () => {
    expect(
      estimate(
        [
          { sum: 3, count: 4 },
          { sum: 0, count: 0 },
        ],
        NORMAL,
      ),
    ).toEqual({ value: 0.75, low: 0.75, high: 0.75, prompts: 1 });
    expect(estimate([], NORMAL)).toMatchObject({ value: Number.NaN, prompts: 0 });
    expect(formatEstimate({ value: -0.5, low: -0.75, high: 0.25 }, 2)).toBe("−0.50 [−0.75, 0.25]");
  });
});

describe("scores of files", () => {
  it("are read in both forms, by item or by prompt", () => {
    const items =
      '[{"id": "a", "prompt": "x", "rewards": [1, 2]},\n {"id": "b", "prompt": "x", "mean_score": 3, "rewards": [3]}]';
    expect(parseScores("s.json", items)).toEqual([
      { id: "a", prompt: "x", rewards: [1, 2] },
      { id: "b", prompt: "x", rewards: [3] },
    ]);
    const lines = ["x", "y", "x"].map((prompt, i) => JSON.stringify({ file: `${i}.png`, prompt, score: i })).join("\n");
    expect(parseScores("s.jsonl", lines)).toEqual([
      { id: null, prompt: "x", rewards: [0, 2] },
      { id: null, prompt: "y", rewards: [1] },
    ]);
  });

  it("are refused by line and field", () => {
    for (const [text, message] of [
      ['[{"prompt": "x",\n"rewards": []}]', /s:2: rewards: must be a list of finite numbers/],
      ['[{"prompt": "x", "rewards": [1, "2"]}]', /s:1: rewards/],
      ['[{"prompt": 3, "score": 1}]', /prompt: must be a text/],
      ['[{"id": 7, "rewards": [1]}]', /id: must be a text/],
      ["[3]", /must be an object/],
      ["[]", /has no scores/],
    ] as const)
      expect(() => parseScores("s", text)).toThrow(message);
  });

  it("must fit the rankings that they are for", () => {
    const comparison = { id: "a", prompt: "x", generations: ["1", "2"], ranking: [1, 2] };
    const scores = (record: object) =>
      scoresOfComparisons("s", [{ id: null, prompt: "x", rewards: [1, 2], ...record }], [comparison]);
    expect(scores({})).toEqual([[1, 2]]);
    expect(scores({ id: "a" })).toEqual([[1, 2]]);
    expect(() => scores({ id: "b" })).toThrow(/has no scores of the item "a"/);
    expect(() => scores({ rewards: [1] })).toThrow(/has 1 scores of the item "a", which has 2 pictures/);
  });
});

describe("models", () => {
  const models = [
    {
      name: "low",
      groups: [
        [0, 0.2],
        [0.1, 0.3],
      ],
    },
    {
      name: "high",
      groups: [
        [1, 3, 2],
        [2, 2, 2, 2],
      ],
    },
    {
      name: "middle",
      groups: [
        [0.5, 0.5],
        [0.5, 0.7],
      ],
    },
  ];

  it("are ranked by their means, beside people's ranks and the best of n", () => {
    const { models: ranked, spearman: correlation } = evaluateModels(models, [3, 2, 1], NORMAL);
    expect(ranked.map(({ rank, humanRank, pictures }) => [rank, humanRank, pictures])).toEqual([
      [3, 3, 4],
      [1, 2, 7],
      [2, 1, 4],
    ]);
    expect(correlation).toBeCloseTo(0.5, 12);
    expect(ranked[0]!.bestOf).toEqual([{ n: 2, mean: expect.objectContaining({ value: 0.25, prompts: 2 }) }]);
    expect(evaluateModels(models, null, BOOTSTRAP)).not.toHaveProperty("spearman");
    expect(() => evaluateModels(models, [1, 2], NORMAL)).toThrow(/humanRanks: 2 ranks for 3 models/);
  });
});
