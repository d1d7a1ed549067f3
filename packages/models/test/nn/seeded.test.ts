/** Seeded weights are those of `reference/golden/seeded.py`, bit for bit: hashes of its results. */
import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { seededRule, seededWeight } from "../../src/nn/seeded.ts";

const REFERENCE: [key: string, shape: number[], seed: number, sha256: string][] = [
  ["a.weight", [5], 0, "299b04b7b10129bb"],
  ["a.bias", [7], 0, "9a30dd4eb6bb76d5"],
  ["x.word_embeddings.weight", [11, 6], 0, "ef3369a6cc0c8652"],
  ["conv.weight", [4, 3, 3, 3], 3, "7a1f38f57a9ed13c"],
  ["logit_scale", [], 0, "d6093a45d3937c7c"],
  ["proj.weight", [129, 1031], 0, "c3034a7189346287"],
];

test.each(REFERENCE)("%s %j", (key, shape, seed, sha256) => {
  const { buffer } = seededWeight(key, shape, seed);
  expect(createHash("sha256").update(new Uint8Array(buffer)).digest("hex").slice(0, 16)).toBe(sha256);
});

test("values lie within half a scale of the offset, and matrices keep a row's variance", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 40 }), fc.nat(), (rows, columns, seed) => {
      const { offset, scale } = seededRule("a.weight", [rows, columns]);
      const values = seededWeight("a.weight", [rows, columns], seed);
      expect(offset).toBe(0);
      expect(values.every((x) => Math.abs(x) <= scale / 2)).toBe(true);
      expect((scale * scale * columns) / 12).toBeCloseTo(1, 5);
    }),
    { numRuns: 20 },
  );
});
