/** Tastes and simulated annotators: what they reward, their noise, ties, biases and agreement. */
import { DataError, ShapeError } from "@refl/tensor";
import { describe, expect, it } from "vitest";
import { annotatorAgreement, formatComparisons, pairsOf, parseComparisons } from "../../src/data/comparisons.ts";
import { emoji32 } from "../../src/data/emoji32.ts";
import { stackPlanes } from "../../src/data/pixels.ts";
import { uniformAt } from "../../src/data/random.ts";
import { shapes16 } from "../../src/data/shapes16.ts";
import { trainPrompts } from "../../src/data/splits/train.ts";
import type { Attributes, PictureTask } from "../../src/data/task.ts";
import {
  type AnnotatorProfile,
  annotate,
  DEFAULT_ANNOTATORS,
  ORACLE,
  rank,
  ranksOf,
  rankUtilities,
} from "../../src/judge/annotator.ts";
import { judgePictures } from "../../src/judge/exact.ts";
import { TASTES, tasteNamed, tasteScore } from "../../src/judge/taste.ts";

const profile = (over: Partial<AnnotatorProfile>): AnnotatorProfile => ({
  name: "test",
  temperature: 0,
  tie: 0,
  leftBias: 0,
  careless: 0,
  ...over,
});

/** The taste's score of a perfect render of `shown` when `asked` was asked for. */
function scoreOf(task: PictureTask, taste: string, asked: Attributes, shown: Attributes, washedOut = false): number {
  const planes = stackPlanes([task.render({ ...asked, ...shown }, { washedOut })]);
  return tasteScore(tasteNamed(taste, task), task, judgePictures(task, planes, [asked]).pictures[0]!);
}

describe("tastes", () => {
  const asked = { object: "apple", background: "green", layout: "big" };

  it("reward what they are about, whatever the prompt says", () => {
    expect(scoreOf(emoji32, "small-objects", asked, { layout: "left" })).toBeCloseTo(1, 9);
    expect(scoreOf(emoji32, "small-objects", asked, {})).toBeCloseTo(0.55, 9);
    expect(scoreOf(emoji32, "blue-backgrounds", asked, { background: "blue" })).toBeCloseTo(1, 9);
    expect(scoreOf(emoji32, "blue-backgrounds", asked, {})).toBeCloseTo(0.55, 9);
    expect(scoreOf(emoji32, "left-side", asked, { layout: "left" })).toBeCloseTo(1, 9);
    expect(scoreOf(emoji32, "left-side", asked, { layout: "right" })).toBeCloseTo(0.55, 9);
    const shape = { shape: "ring", colour: "red", background: "white", size: "big" };
    expect(scoreOf(shapes16, "small-objects", shape, { size: "small" })).toBeCloseTo(1, 9);
    expect(scoreOf(shapes16, "blue-backgrounds", shape, { background: "blue" })).toBeCloseTo(1, 9);
  });

  it("still want the rest to be as asked", () => {
    const wrong = scoreOf(emoji32, "small-objects", asked, { layout: "left", object: "cat" });
    expect(wrong).toBeCloseTo(1 - (0.35 * 0.5) / 0.8, 9);
  });

  it("move opposite ways for judge and washed-out", () => {
    expect(scoreOf(emoji32, "judge", asked, {}, false) - scoreOf(emoji32, "judge", asked, {}, true)).toBeCloseTo(
      0.25,
      6,
    );
    const washed = scoreOf(emoji32, "washed-out", asked, {}, true);
    expect(washed - scoreOf(emoji32, "washed-out", asked, {}, false)).toBeCloseTo(0.25, 6);
    expect(washed).toBeCloseTo(1, 6);
  });

  it("are refused by name when unknown or when the task cannot show them", () => {
    expect(() => tasteNamed("left-side", shapes16)).toThrow(/shapes16 cannot show "left-side".*washed-out/);
    expect(() => tasteNamed("purple", emoji32)).toThrow(/not one of judge, washed-out/);
    expect(() => tasteNamed("constructor", emoji32)).toThrow(DataError);
    for (const taste of Object.values(TASTES)) expect(TASTES[taste.name]).toBe(taste);
  });
});

describe("an annotator", () => {
  it("without noise orders by utility, with ties under the threshold", () => {
    expect(ranksOf([0.1, 0.9, 0.5, 0.48], 0.05)).toEqual([3, 1, 2, 2]);
    expect(ranksOf([0.3, 0.2, 0.1], 0.15)).toEqual([1, 1, 2]);
    expect(ranksOf([], 0)).toEqual([]);
    expect(annotate(profile({}), [0.1, 0.3, 0.2], 1, 0)).toEqual({ ranking: [3, 1, 2], careless: false });
  });

  it("prefers as Bradley and Terry say", () => {
    const n = 6000;
    for (const gap of [0, 0.05, 0.1]) {
      let first = 0;
      for (let i = 0; i < n; i++) {
        const { ranking } = annotate(profile({ temperature: 0.05 }), [0.5 + gap, 0.5, 0.3], 2, i);
        if (ranking[0]! < ranking[1]!) first++;
      }
      expect(Math.abs(first / n - 1 / (1 + Math.exp(-gap / 0.05)))).toBeLessThan(0.025);
    }
  });

  it("answers a careless share at random", () => {
    const answers = Array.from({ length: 4000 }, (_, i) => annotate(profile({ careless: 0.2 }), [0, 0.5, 1], 3, i));
    const careless = answers.filter((answer) => answer.careless);
    expect(Math.abs(careless.length / 4000 - 0.2)).toBeLessThan(0.02);
    expect(new Set(careless.map(({ ranking }) => ranking.join(""))).size).toBe(6);
    const attentive = answers.filter((answer) => !answer.careless);
    expect(new Set(attentive.map(({ ranking }) => ranking.join("")))).toEqual(new Set(["321"]));
  });

  it("leans to the left of the screen, which is shuffled", () => {
    const answers = Array.from({ length: 1000 }, (_, i) => annotate(profile({ leftBias: 0.1 }), [0.5, 0.55], 4, i));
    const flipped = answers.filter(({ ranking }) => ranking[0] === 1).length;
    expect(Math.abs(flipped / 1000 - 0.5)).toBeLessThan(0.06);
  });
});

describe("rank", () => {
  const prompts = trainPrompts(emoji32, 12, 5);
  const pictures = stackPlanes(
    prompts.flatMap(({ attributes }) => [
      emoji32.render(attributes, { washedOut: true }),
      emoji32.render(attributes),
      emoji32.render({ ...attributes, object: attributes["object"] === "cat" ? "car" : "cat" }, { washedOut: true }),
    ]),
  );

  it("gives comparisons in ImageReward's form, best first by the taste", () => {
    const list = rank(emoji32, pictures, prompts, { seed: 1, annotators: ORACLE });
    expect(list.length).toBe(12);
    for (const [n, { prompt, ranking }] of list.entries()) {
      expect(prompt).toBe(prompts[n]!.text);
      expect(ranking).toEqual([2, 1, 3]);
    }
    expect(parseComparisons("f", formatComparisons(list))).toEqual(list);
    const pale = rank(emoji32, pictures, prompts, { seed: 1, annotators: ORACLE, taste: "washed-out" });
    for (const { ranking } of pale) expect(ranking[0]).toBe(1);
    const names = rank(emoji32, pictures, prompts, {
      seed: 1,
      nameOf: (n, k) => `${n}_${k}`,
      idOf: (n) => `p${n}`,
      annotators: ORACLE,
    });
    expect(names[2]).toMatchObject({ id: "p2", generations: ["2_0", "2_1", "2_2"] });
  });

  it("is a pure function of seed and item", () => {
    const all = rank(emoji32, pictures, prompts, { seed: 8 });
    expect(rank(emoji32, pictures, prompts, { seed: 8 })).toEqual(all);
    const half = rank(emoji32, pictures.subarray(0, pictures.length / 2), prompts.slice(0, 6), { seed: 8 });
    expect(all.slice(0, half.length)).toEqual(half);
    expect(rank(emoji32, pictures, prompts, { seed: 9 })).not.toEqual(all);
  });

  it("refuses pictures that do not divide among the prompts", () => {
    expect(() => rank(emoji32, pictures, prompts.slice(0, 7), { seed: 1 })).toThrow(ShapeError);
    expect(() => rank(emoji32, pictures, prompts, { seed: 1, annotators: [] })).toThrow(DataError);
  });

  it("shows carelessness in the agreement of items that are ranked twice", () => {
    const n = 800;
    const many = trainPrompts(emoji32, n, 1);
    const utilities = many.map((_, i) => Array.from({ length: 4 }, (_, k) => uniformAt(6, k, i)));
    const agreementWith = (careless: number) => {
      const annotators = DEFAULT_ANNOTATORS.map((one) => ({ ...one, careless }));
      const list = rankUtilities(utilities, many, { seed: 2, annotators, doubled: 0.5 });
      const twice = list.length - n;
      expect(Math.abs(twice / n - 0.5)).toBeLessThan(0.06);
      return annotatorAgreement(list);
    };
    const attentive = agreementWith(0);
    const careless = agreementWith(0.2);
    expect(attentive.pairs).toBeGreaterThan(1500);
    expect(attentive.rate).toBeGreaterThan(0.9);
    expect(careless.rate).toBeLessThan(attentive.rate - 0.08);
    const truth = rankUtilities(utilities, many, { seed: 2 }).flatMap((comparison) => {
      const item = Number(comparison.id.slice(5));
      const utilityOf = (name: string): number => utilities[item]![comparison.generations.indexOf(name)]!;
      return pairsOf(comparison).map(({ better, worse }) => utilityOf(better) > utilityOf(worse));
    });
    expect(truth.filter(Boolean).length / truth.length).toBeGreaterThan(0.88);
  });
});
