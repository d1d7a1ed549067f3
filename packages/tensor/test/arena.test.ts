/** Planned memory: layouts that no two values in use at once can collide in, and how near to the least they come. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { ALIGNMENT, type Interval, type Layout, planLayout } from "../src/plan/arena.ts";

const value = (bytes: number, first: number, last: number, apart: number[] = []): Interval => ({
  bytes,
  first,
  last,
  apart: new Set(apart),
});

function check(values: readonly Interval[], { places, sizes, lowerBound }: Layout): void {
  expect(places).toHaveLength(values.length);
  for (const [i, a] of values.entries()) {
    const { buffer, offset } = places[i]!;
    expect(offset % ALIGNMENT).toBe(0);
    expect(offset + a.bytes).toBeLessThanOrEqual(sizes[buffer]!);
    for (const [j, b] of values.entries()) {
      if (j <= i || b.first > a.last || b.last < a.first || places[j]!.buffer !== buffer) continue;
      const other = places[j]!.offset;
      expect(other >= offset + a.bytes || offset >= other + b.bytes).toBe(true);
      expect(a.apart.has(j)).toBe(false);
    }
  }
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeGreaterThanOrEqual(lowerBound);
}

test("values in use at one step never overlap, and those that must lie apart share no buffer", () => {
  const interval = fc.record({
    bytes: fc.oneof(fc.integer({ min: 0, max: 5000 }), fc.integer({ min: 1, max: 2 ** 31 })),
    first: fc.nat(30),
    length: fc.nat(30),
    apart: fc.array(fc.nat(39), { maxLength: 3 }),
  });
  fc.assert(
    fc.property(fc.array(interval, { maxLength: 40 }), (drawn) => {
      const apart = drawn.map(() => new Set<number>());
      for (const [i, d] of drawn.entries()) {
        for (const j of d.apart) {
          if (j === i || j >= drawn.length) continue;
          apart[i]!.add(j);
          apart[j]!.add(i);
        }
      }
      const values = drawn.map(({ bytes, first, length }, i) => ({
        ...value(bytes, first, first + length),
        apart: apart[i]!,
      }));
      check(values, planLayout(values));
    }),
    { numRuns: 500 },
  );
});

test("a chain takes two buffers, however long it is", () => {
  const chain = Array.from({ length: 50 }, (_, i) => value(4096, i, i + 1, [i - 1, i + 1]));
  const layout = planLayout(chain);
  check(chain, layout);
  expect(layout.sizes).toEqual([4096, 4096]);
  expect(layout.lowerBound).toBe(8192);
});

test("small values fill the gap that a large one leaves", () => {
  const values = [value(10240, 0, 1), value(5120, 2, 3), value(5120, 2, 3), value(10240, 4, 5)];
  const layout = planLayout(values);
  check(values, layout);
  expect(layout.sizes).toEqual([10240]);
});

test("nothing needs nothing", () => {
  expect(planLayout([])).toEqual({ places: [], sizes: [], lowerBound: 0 });
});
