/** Size classes of buffers. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { sizeClass } from "../src/pool.ts";

test("a class holds its request, is its own class, and wastes at most half, a ninth above 64 KiB", () => {
  fc.assert(
    fc.property(fc.oneof(fc.integer({ min: 1, max: 2 ** 21 }), fc.integer({ min: 1, max: 2 ** 32 })), (bytes) => {
      const size = sizeClass(bytes);
      expect(size).toBeGreaterThanOrEqual(bytes);
      expect(size % 256).toBe(0);
      if (bytes > 256) expect(bytes / size).toBeGreaterThan(bytes <= 2 ** 16 ? 0.5 : 0.88);
      expect(sizeClass(size)).toBe(size);
    }),
    { numRuns: 2000 },
  );
});

test("a larger request never gets a smaller class, and there are few classes", () => {
  const classes = new Set<number>();
  let last = 0;
  for (let bytes = 1; bytes < 2 ** 32; bytes = Math.ceil(bytes * 1.01)) {
    const size = sizeClass(bytes);
    expect(size).toBeGreaterThanOrEqual(last);
    classes.add((last = size));
  }
  expect(classes.size).toBeLessThan(140);
});
