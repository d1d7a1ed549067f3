/** What training computes on the host: rates, decays, pairs, streams, graded steps and negative captions. */
import { emaDecay } from "@refl/autograd";
import { DataError } from "@refl/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bytesToPlanes } from "../../src/data/pixels.ts";
import { shapes16 } from "../../src/data/shapes16.ts";
import { splitRankings } from "../../src/jobs/reward.ts";
import { negativeRows } from "../../src/train/blip.ts";
import { exampleBatch, listExamples, taskExamples } from "../../src/train/examples.ts";
import { gradedIndex } from "../../src/train/graded.ts";
import { rankedPictures, strictPairs } from "../../src/train/pairs.ts";
import { learningRate } from "../../src/train/schedule.ts";
import { pictureStreams, uniforms } from "../../src/train/streams.ts";

describe("learningRate", () => {
  it("rises in a line and stays", () => {
    const constant = { lr: 0.4, lrSchedule: "constant", warmupSteps: 4 } as const;
    const rates = [1, 2, 3, 4, 5, 100].map((step) => learningRate(constant, step, 100));
    for (const [i, rate] of [0.1, 0.2, 0.3, 0.4, 0.4, 0.4].entries()) expect(rates[i]).toBeCloseTo(rate, 12);
    expect(learningRate({ ...constant, warmupSteps: 0 }, 1, 100)).toBe(0.4);
  });

  it("falls by half a cosine from the full rate to just above zero", () => {
    const cosine = { lr: 2, lrSchedule: "cosine", warmupSteps: 2 } as const;
    const rates = Array.from({ length: 10 }, (_, i) => learningRate(cosine, i + 1, 10));
    expect(rates.slice(0, 3)).toEqual([1, 2, 2]);
    // Halfway through the eight steps after the warm-up.
    expect(rates[6]).toBeCloseTo(1, 12);
    expect(rates[9]).toBeCloseTo(1 + Math.cos((7 / 8) * Math.PI), 12);
    for (let i = 3; i < 10; i++) expect(rates[i]).toBeLessThan(rates[i - 1]!);
    expect(Math.min(...rates)).toBeGreaterThan(0);
  });

  it("is never above its highest and never below zero", () => {
    const schedule = fc.record({
      lr: fc.double({ min: 1e-9, max: 1, noNaN: true }),
      lrSchedule: fc.constantFrom("cosine", "constant"),
      warmupSteps: fc.nat(50),
    });
    fc.assert(
      fc.property(schedule, fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 200 }), (s, total, at) => {
        const rate = learningRate(s, Math.min(at, total), total);
        expect(rate).toBeGreaterThanOrEqual(0);
        expect(rate).toBeLessThanOrEqual(s.lr * (1 + 1e-12));
      }),
    );
  });
});

it("emaDecay warms up as diffusers' does, from a plain copy to its limit", () => {
  expect([1, 2, 3, 11].map((step) => emaDecay(step, 0.9999))).toEqual([0, 2 / 11, 3 / 12, 11 / 20]);
  expect(emaDecay(101, 0.9999)).toBeCloseTo(0.918, 3);
  expect(emaDecay(1e9, 0.99)).toBe(0.99);
});

describe("strictPairs", () => {
  it("numbers pictures across rankings and skips ties", () => {
    const pairs = strictPairs([
      [2, 1, 2],
      [1, 1],
      [3, 1],
    ]);
    expect(pairs).toEqual([
      [1, 0],
      [1, 2],
      [6, 5],
    ]);
    expect(strictPairs([])).toEqual([]);
  });

  it("names every pair of different ranks once, the better first", () => {
    const ranking = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(fc.array(ranking, { maxLength: 4 }), (rankings) => {
        const ranks = rankings.flat();
        const group = rankings.flatMap((list, i) => list.map(() => i));
        const pairs = strictPairs(rankings);
        for (const [better, worse] of pairs) {
          expect(group[better]).toBe(group[worse]);
          expect(ranks[better]).toBeLessThan(ranks[worse]!);
        }
        const wanted = rankings.flatMap((list) => list.flatMap((a, i) => list.slice(i + 1).filter((b) => b !== a)));
        expect(new Set(pairs.map(String)).size).toBe(pairs.length);
        expect(pairs).toHaveLength(wanted.length);
      }),
    );
  });
});

it("rankedPictures joins generations with their pixels", () => {
  const comparison = { id: "1", prompt: "a cross", generations: ["a", "b"], ranking: [2, 1] };
  const [joined] = rankedPictures([comparison], (name) => Uint8Array.from(name, (c) => c.charCodeAt(0)));
  expect(joined).toEqual({ prompt: "a cross", rgb: [Uint8Array.of(97), Uint8Array.of(98)], ranking: [2, 1] });
});

describe("splitRankings", () => {
  const ranking = (prompt: string) => ({ prompt, rgb: [], ranking: [] });
  it("keeps all rankings of a prompt on one side, whatever their order", () => {
    const prompts = Array.from({ length: 20 }, (_, i) => ranking(`prompt ${i % 10}`));
    const { training, validation } = splitRankings(prompts, 0.2);
    const held = new Set(validation.map((r) => r.prompt));
    expect(held.size).toBe(2);
    expect(validation).toHaveLength(4);
    expect(training.some((r) => held.has(r.prompt))).toBe(false);
    const turned = splitRankings([...prompts].reverse(), 0.2);
    expect(new Set(turned.validation.map((r) => r.prompt))).toEqual(held);
  });
  it("needs two prompts", () => {
    expect(() => splitRankings([ranking("only")], 0.1)).toThrow(DataError);
  });
});

describe("random streams", () => {
  it("give a picture the same numbers in any batch", () => {
    const all = pictureStreams(3, "use", 0, 8);
    for (const [first, count] of [
      [0, 2],
      [3, 4],
      [7, 1],
    ] as const) {
      const words = (list: typeof all) => list.map((stream) => [...stream.words]);
      expect(words(pictureStreams(3, "use", first, count))).toEqual(words(all.slice(first, first + count)));
      expect(uniforms(3, "use", first, count)).toEqual(uniforms(3, "use", 0, 8).slice(first, first + count));
    }
    const distinct = new Set([...all, ...pictureStreams(3, "other", 0, 8)].map((stream) => String(stream.words)));
    expect(distinct.size).toBe(16);
    expect(uniforms(4, "use", 0, 8)).not.toEqual(uniforms(3, "use", 0, 8));
  });
});

describe("gradedIndex", () => {
  it("stays within the last steps and reaches all of them about equally", () => {
    const counts = new Map<number, number>();
    for (let step = 0; step < 4000; step++) {
      const index = gradedIndex(1, step, 40, 10);
      counts.set(index, (counts.get(index) ?? 0) + 1);
    }
    expect([...counts.keys()].sort((a, b) => a - b)).toEqual([30, 31, 32, 33, 34, 35, 36, 37, 38, 39]);
    // 400 expected; the standard deviation is 19.
    for (const count of counts.values()) expect(Math.abs(count - 400)).toBeLessThan(80);
  });
  it("takes the whole sampler when the window is wider", () => {
    const seen = new Set(Array.from({ length: 200 }, (_, step) => gradedIndex(2, step, 3, 10)));
    expect([...seen].sort()).toEqual([0, 1, 2]);
  });
});

describe("negativeRows", () => {
  it("never gives a picture its own caption while the batch has another", () => {
    const captions = ["a", "b", "a", "c", "b"];
    for (let first = 0; first < 50; first += 5) {
      const rows = negativeRows(captions, 1, first);
      for (const [i, row] of rows.entries()) expect(captions[row]).not.toBe(captions[i]);
    }
    expect(negativeRows(["a", "a"], 1, 0)).toEqual([0, 1]);
  });
});

describe("examples", () => {
  it("are functions of seed and index", async () => {
    const source = taskExamples(shapes16);
    const all = await exampleBatch(source, 9, 0, 6);
    const part = await exampleBatch(source, 9, 2, 3);
    expect(part.captions).toEqual(all.captions.slice(2, 5));
    const each = 3 * 16 * 16;
    expect(part.rgb).toEqual(all.rgb.slice(2 * each, 5 * each));
    expect((await exampleBatch(source, 8, 0, 6)).captions).not.toEqual(all.captions);
  });
  it("of one's own come from the list, and a list cannot be empty", async () => {
    const pictures = ["a", "b", "c"].map((caption, i) => ({ caption, rgb: new Uint8Array(12).fill(i * 50) }));
    const source = listExamples("mine", 2, pictures);
    const { rgb, captions } = await exampleBatch(source, 1, 0, 40);
    expect(new Set(captions)).toEqual(new Set(["a", "b", "c"]));
    const planes = new Float32Array(12);
    bytesToPlanes(pictures[captions[0] === "a" ? 0 : captions[0] === "b" ? 1 : 2]!.rgb, planes);
    expect(rgb.slice(0, 12)).toEqual(planes);
    expect(() => listExamples("mine", 2, [])).toThrow(DataError);
  });
});
