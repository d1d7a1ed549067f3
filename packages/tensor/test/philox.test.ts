/** Philox on the host: the published vectors, and streams whose elements are pure functions of their position. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { PhiloxStream, philox4x32, toUniform } from "../src/index.ts";

test.for([
  ["00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"],
  ["ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"],
  ["243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"],
] as const)("Random123's known answer for counter %s, key %s", ([counter, key, expected]) => {
  const words = (text: string): number[] => text.split(" ").map((word) => Number.parseInt(word, 16));
  const found = philox4x32(words(counter) as [number, number, number, number], words(key) as [number, number]);
  expect(found.map((word) => word.toString(16).padStart(8, "0")).join(" ")).toBe(expected);
});

test("seed, stream and position each change the word; high bits of the seed count", () => {
  const word = (seed: number, stream: number, index: number): number => new PhiloxStream(seed, stream).word(index);
  const all = [
    word(1, 0, 0),
    word(2, 0, 0),
    word(1, 1, 0),
    word(1, 0, 1),
    word(1 + 2 ** 32, 0, 0),
    word(1, 0, 2 ** 35),
  ];
  expect(new Set(all).size).toBe(all.length);
  expect(new PhiloxStream(2 ** 52 + 5, 7).words).toEqual([5, 2 ** 20, 7]);
});

test("uniform numbers lie in [0, 1) and are multiples of 2^-24", () => {
  expect(toUniform(0)).toBe(0);
  expect(toUniform(0xffffffff)).toBe(1 - 2 ** -24);
  const stream = new PhiloxStream(3);
  for (let i = 0; i < 1000; i++) expect(Number.isInteger(stream.uniform(i) * 2 ** 24)).toBe(true);
});

test("an integer is the high word of word × bound, exactly", () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.nat(2 ** 20), fc.integer({ min: 1, max: 0xffffffff }), (seed, index, bound) => {
      const stream = new PhiloxStream(seed);
      const exact = Number((BigInt(stream.word(index)) * BigInt(bound)) >> 32n);
      expect(stream.integer(index, bound)).toBe(exact);
      expect(exact).toBeLessThan(bound);
    }),
  );
});

test("a permutation holds every number once and starts as the stream says", () => {
  const stream = new PhiloxStream(11, 2);
  const order = stream.permutation(257);
  expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 257 }, (_, i) => i));
  for (let i = 1; i < order.length; i++) {
    expect(stream.word(order[i]!)).toBeGreaterThanOrEqual(stream.word(order[i - 1]!));
  }
});

test("moments of 100,000 normals are those of the normal distribution", () => {
  const n = 100_000;
  const stream = new PhiloxStream(5);
  const moments = [0, 0, 0, 0];
  for (let i = 0; i < n; i++) {
    const x = stream.normal(i);
    for (let k = 0; k < 4; k++) moments[k]! += x ** (k + 1) / n;
  }
  // Five standard errors: the deviations of x, x², x³ and x⁴ are 1, √2, √15 and √96.
  const error = 5 / Math.sqrt(n);
  expect(Math.abs(moments[0]!)).toBeLessThan(error);
  expect(Math.abs(moments[1]! - 1)).toBeLessThan(error * Math.SQRT2);
  expect(Math.abs(moments[2]!)).toBeLessThan(error * Math.sqrt(15));
  expect(Math.abs(moments[3]! - 3)).toBeLessThan(error * Math.sqrt(96));
});
