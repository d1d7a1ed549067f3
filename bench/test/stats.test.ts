/** Medians, their spread and geometric means. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { geomean, mad, median, summarize } from "../src/stats.ts";

it("takes the middle, or the mean of the middle two", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(median([])).toBeNaN();
});

it("measures spread by the median absolute deviation, which one outlier does not move", () => {
  expect(mad([1, 1, 2, 2, 4, 6, 9])).toBe(1);
  expect(mad([10, 11, 12, 1000])).toBe(1);
  expect(summarize([5, 5, 5])).toEqual({ median: 5, mad: 0 });
});

it("weighs twice as fast and half as fast alike", () => {
  expect(geomean([2, 0.5])).toBeCloseTo(1, 12);
  expect(geomean([4, 4, 4])).toBeCloseTo(4, 12);
  expect(geomean([])).toBeNaN();
});

it("scales and orders as statistics do", () => {
  const times = fc.array(fc.double({ min: 1e-3, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(times, fc.integer({ min: 1, max: 9 }), (values, factor) => {
      const low = Math.min(...values);
      const high = Math.max(...values);
      for (const statistic of [median, geomean]) {
        expect(statistic(values)).toBeGreaterThanOrEqual(low * (1 - 1e-9));
        expect(statistic(values)).toBeLessThanOrEqual(high * (1 + 1e-9));
        expect(statistic(values.map((v) => v * factor)) / statistic(values)).toBeCloseTo(factor, 6);
      }
      expect(mad(values)).toBeLessThanOrEqual(high - low);
    }),
  );
});
