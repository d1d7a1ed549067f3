/** The picture tasks: captions, renders, splits and the training stream. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { DataError } from "@refl/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { allCombinations, JITTERS, wordsOf } from "../../src/data/combinations.ts";
import { hashText, intAt, normalAt, shuffleAt, uniformAt, wordsAt } from "../../src/data/random.ts";
import { testPrompts, testUnseenCombinations, wordOrderPrompts } from "../../src/data/splits/test.ts";
import { trainPrompts, validationPrompts } from "../../src/data/splits/train.ts";
import { CLEAN_MIX, nearlyRightCaption, trainingExample } from "../../src/data/stream.ts";
import { TASKS, taskNamed } from "../../src/data/tasks.ts";

describe("random draws", () => {
  it("hold the test vectors of Random123", () => {
    expect(wordsAt(0, 0, 0)).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  });

  it("have the moments of their distributions", () => {
    const n = 4000;
    const uniform = Array.from({ length: n }, (_, i) => uniformAt(7, 1, i));
    const normal = Array.from({ length: n }, (_, i) => normalAt(7, 2, i));
    const mean = (xs: number[]): number => xs.reduce((a, b) => a + b) / xs.length;
    expect(mean(uniform)).toBeCloseTo(0.5, 1);
    expect(Math.abs(mean(normal))).toBeLessThan(0.06);
    expect(Math.abs(mean(normal.map((x) => x * x)) - 1)).toBeLessThan(0.08);
    expect(new Set(Array.from({ length: 200 }, (_, i) => intAt(1, 1, i, 6))).size).toBe(6);
  });

  it("shuffle to a permutation that differs by index", () => {
    fc.assert(
      fc.property(fc.nat(1e6), fc.nat(1000), fc.integer({ min: 0, max: 40 }), (seed, index, count) => {
        const order = shuffleAt(seed, 3, index, count);
        expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i));
      }),
      { numRuns: 50 },
    );
    expect(shuffleAt(1, 1, 0, 20)).not.toEqual(shuffleAt(1, 1, 1, 20));
    expect(hashText("apple/blue")).not.toBe(hashText("apple/blud"));
  });
});

it("the committed sprites are what the script makes", () => {
  const script = fileURLToPath(new URL("../../../../scripts/sprites.mjs", import.meta.url));
  expect(execFileSync(process.execPath, [script, "--check"], { encoding: "utf8" })).toBe("");
});

it("an unknown task is refused with the names there are", () => {
  expect(() => taskNamed("emoji33")).toThrow(/emoji33.*shapes16, emoji32/);
  expect(() => taskNamed("toString")).toThrow(DataError);
});

describe.each(Object.values(TASKS))("$name", (task) => {
  const all = allCombinations(task.axes);

  it("has weights that add up to 1 and a small closed vocabulary", () => {
    expect(task.axes.reduce((sum, axis) => sum + axis.weight, 0)).toBeCloseTo(1, 12);
    expect(task.vocabulary.length).toBeLessThanOrEqual(60);
    expect(new Set(task.vocabulary).size).toBe(task.vocabulary.length);
  });

  it("writes captions that read back, within the vocabulary and the length", () => {
    const seen = new Map<string, string>();
    for (const attributes of all) {
      for (let template = 0; template < task.templates; template++) {
        const caption = task.captionOf(attributes, template);
        const parsed = task.parseCaption(caption);
        expect(parsed).toEqual({ attributes, named: attributes, unknown: [], missing: [] });
        expect(wordsOf(caption).length).toBeLessThanOrEqual(task.maxWords);
        expect(seen.has(caption)).toBe(false);
        seen.set(caption, caption);
      }
    }
  });

  it("lists unknown words and missing axes", () => {
    const parsed = task.parseCaption("A BIG zebra, on a Blue background!");
    expect(parsed.attributes).toBeUndefined();
    expect(parsed.unknown).toEqual(["zebra"]);
    expect(parsed.named["background"]).toBe("blue");
    expect(parsed.missing).toEqual(task.objectAxes.length === 1 ? ["object"] : ["shape", "colour"]);
    expect(task.parseCaption("").missing).toEqual(task.axes.map((axis) => axis.name));
  });

  it("renders every combination to a picture of its own, vivid and washed out", () => {
    const seen = new Set<string>();
    for (const attributes of all) {
      for (const washedOut of [false, true]) {
        const rgb = task.render(attributes, { washedOut });
        expect(rgb.length).toBe(task.size * task.size * 3);
        seen.add(Buffer.from(rgb).toString("base64"));
      }
    }
    expect(seen.size).toBe(all.length * 2);
    const jittered = JITTERS.map((jitter) => Buffer.from(task.render(all[0]!, { jitter })).toString("base64"));
    expect(new Set(jittered).size).toBe(9);
  });

  it("washes out towards less contrast and saturation", () => {
    const spread = (rgb: Uint8Array): number => {
      const mean = rgb.reduce((a, b) => a + b, 0) / rgb.length;
      return Math.sqrt(rgb.reduce((sum, v) => sum + (v - mean) ** 2, 0) / rgb.length);
    };
    for (const attributes of all) {
      const vivid = spread(task.render(attributes));
      expect(spread(task.render(attributes, { washedOut: true }))).toBeLessThan(0.6 * vivid);
    }
  });

  it("refuses attributes and jitters that it does not have", () => {
    expect(() => task.render({ ...all[0]!, background: "plaid" })).toThrow(/background: "plaid" is not one of/);
    expect(() => task.render({ ...all[0]!, mood: "glad" })).toThrow(/no such attribute/);
    expect(() => task.captionOf({})).toThrow(DataError);
    expect(() => task.render(all[0]!, { jitter: [2, 0] })).toThrow(/must be -1, 0 or 1/);
  });

  it("splits by object and background alone, about 80 / 10 / 10", () => {
    const train = task.combinations("train");
    const validation = task.combinations("validation");
    const test = testUnseenCombinations(task);
    expect(train.length + validation.length + test.length).toBe(all.length);
    for (const held of [validation, test]) {
      expect(held.length / all.length).toBeGreaterThan(0.08);
      expect(held.length / all.length).toBeLessThan(0.12);
    }
    const free = task.axes.filter(({ name }) => name !== "background" && !task.objectAxes.includes(name));
    for (const attributes of all) {
      for (const axis of free) {
        for (const value of axis.values) {
          expect(task.splitOf({ ...attributes, [axis.name]: value })).toBe(task.splitOf(attributes));
        }
      }
    }
  });

  it("keeps every value of every axis in train", () => {
    for (const axis of task.axes) {
      const inTrain = new Set(task.combinations("train").map((attributes) => attributes[axis.name]));
      expect([...inTrain].sort()).toEqual([...axis.values].sort());
    }
  });

  it("lets no test caption occur in anything that training enumerates", () => {
    const held = new Set<string>();
    for (const attributes of testUnseenCombinations(task)) {
      for (let template = 0; template < task.templates; template++) held.add(task.captionOf(attributes, template));
    }
    const enumerated = [...task.combinations("train"), ...task.combinations("validation")].flatMap((attributes) =>
      Array.from({ length: task.templates }, (_, template) => task.captionOf(attributes, template)),
    );
    const prompts = [...trainPrompts(task, 2000, 1), ...validationPrompts(task, 500, 1)].map(({ text }) => text);
    const stream = Array.from({ length: 3000 }, (_, i) => trainingExample(task, 5, i).caption);
    for (const caption of [...enumerated, ...prompts, ...stream]) expect(held.has(caption)).toBe(false);
    const validation = new Set(task.combinations("validation").map((a) => task.captionOf(a)));
    for (const attributes of task.combinations("train")) {
      expect(validation.has(task.captionOf(attributes))).toBe(false);
    }
  });

  it("has fixed test prompts whose seeds training never uses", () => {
    for (const split of ["test-seen", "test-unseen"] as const) {
      const prompts = testPrompts(task, split, 300);
      expect(prompts.slice(0, 40)).toEqual(testPrompts(task, split, 40));
      expect(new Set(prompts.map(({ seed }) => seed)).size).toBe(300);
      for (const { seed, attributes, text } of prompts) {
        expect(seed).toBeGreaterThanOrEqual(2 ** 31);
        expect(seed).toBeLessThan(2 ** 32);
        expect(task.splitOf(attributes)).toBe(split === "test-seen" ? "train" : "test-unseen");
        expect(task.parseCaption(text).attributes).toEqual(attributes);
      }
    }
    const trained = new Set(trainPrompts(task, 3000).map(({ text }) => text));
    for (const { text } of wordOrderPrompts(task, 100)) expect(trained.has(text)).toBe(false);
  });

  it("streams web-like examples as a pure function of seed and index", () => {
    const n = 4000;
    const examples = Array.from({ length: n }, (_, i) => trainingExample(task, 11, i));
    const share = (of: (e: (typeof examples)[number]) => boolean): number => examples.filter(of).length / n;
    expect(Math.abs(share((e) => e.washedOut) - 0.5)).toBeLessThan(0.03);
    expect(Math.abs(share((e) => e.captionWrong) - 0.2)).toBeLessThan(0.03);
    for (const example of examples.slice(0, 400)) {
      const told = task.parseCaption(example.caption).attributes!;
      const { background, ...rest } = told;
      const { background: shown, ...others } = example.attributes;
      expect(rest).toEqual(others);
      expect(background !== shown).toBe(example.captionWrong);
      expect(task.splitOf(example.attributes)).toBe("train");
      expect(example.rgb).toEqual(task.render(example.attributes, example));
    }
    expect(trainingExample(task, 11, 123)).toEqual(examples[123]);
    expect(examples.map((e) => e.caption)).not.toEqual(
      Array.from({ length: n }, (_, i) => trainingExample(task, 12, i).caption),
    );
    const clean = Array.from({ length: 100 }, (_, i) => trainingExample(task, 11, i, CLEAN_MIX, "validation"));
    expect(clean.some((e) => e.washedOut || e.captionWrong || task.splitOf(e.attributes) !== "validation")).toBe(false);
  });

  it("tells captions that are wrong in one thing, of the same split", () => {
    const kinds = new Set<string>();
    for (let i = 0; i < 400; i++) {
      const caption = nearlyRightCaption(task, 11, i);
      if (caption === undefined) continue;
      const { attributes } = trainingExample(task, 11, i);
      const told = task.parseCaption(caption).attributes!;
      const wrong = task.axes.filter(({ name }) => told[name] !== attributes[name]).map(({ name }) => name);
      expect(wrong).toHaveLength(1);
      expect(task.splitOf(told)).toBe("train");
      kinds.add(wrong[0]!);
    }
    expect(kinds.size).toBe(task.axes.length);
    expect(nearlyRightCaption(task, 11, 7)).toBe(nearlyRightCaption(task, 11, 7));
  });
});
