/** Half floats over all their patterns, and what host values become on the device and back. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { decode, encode, f16ToNumber, numberToF16 } from "../src/index.ts";

const bits = new DataView(new ArrayBuffer(4));

test("every half pattern survives the way to f32 and back; NaNs stay NaN", () => {
  for (let half = 0; half < 65536; half++) {
    const value = f16ToNumber(half);
    if (Number.isNaN(value)) expect((half & 0x7c00) === 0x7c00 && (half & 0x3ff) !== 0).toBe(true);
    else if (numberToF16(value) !== half)
      expect.fail(`pattern ${half.toString(16)} → ${value} → ${numberToF16(value).toString(16)}`);
  }
  expect(Number.isNaN(f16ToNumber(numberToF16(Number.NaN)))).toBe(true);
});

test("values by hand", () => {
  expect(f16ToNumber(0x3c00)).toBe(1);
  expect(f16ToNumber(0xc000)).toBe(-2);
  expect(f16ToNumber(0x7bff)).toBe(65504);
  expect(f16ToNumber(0x0001)).toBe(2 ** -24);
  expect(f16ToNumber(0x03ff)).toBe(2 ** -14 * (1023 / 1024));
  expect(Object.is(f16ToNumber(0x8000), -0)).toBe(true);
  expect(f16ToNumber(0xfc00)).toBe(Number.NEGATIVE_INFINITY);
  expect(numberToF16(65519.996)).toBe(0x7bff);
  expect(numberToF16(65520)).toBe(0x7c00);
  expect(numberToF16(2 ** -25)).toBe(0);
  expect(numberToF16(2 ** -25 * 1.0001)).toBe(1);
  expect(numberToF16(-(2 ** -24) * 1.5)).toBe(0x8002);
  expect(numberToF16(1 + 2 ** -11)).toBe(0x3c00);
  expect(numberToF16(1 + 3 * 2 ** -11)).toBe(0x3c02);
});

test("an f32 becomes the nearest half, the even one of two equally near", () => {
  const finite = fc.integer({ min: 0, max: 0xffffffff }).map((pattern) => {
    bits.setUint32(0, pattern);
    return bits.getFloat32(0);
  });
  const next = (half: number, by: 1 | -1): number => f16ToNumber((half & 0x8000) | ((half & 0x7fff) + by));
  fc.assert(
    fc.property(finite, (x) => {
      fc.pre(Number.isFinite(x) && Math.abs(x) < 65504);
      const half = numberToF16(x);
      const distance = Math.abs(f16ToNumber(half) - x);
      const neighbours = [next(half, 1), ...((half & 0x7fff) > 0 ? [next(half, -1)] : [])];
      for (const other of neighbours) {
        expect(Math.abs(other - x)).toBeGreaterThanOrEqual(distance);
        if (Math.abs(other - x) === distance) expect(half & 1).toBe(0);
      }
    }),
    { numRuns: 2000 },
  );
});

test("each dtype's bytes come back as its values", () => {
  const values = [0, 1, -1.5, 3.25, 65504];
  expect([...decode(encode(values, "f32"), "f32", 5)]).toEqual(values);
  expect([...decode(encode(values, "f16"), "f16", 5)]).toEqual(values);
  expect([...decode(encode([0, -7, 2147483647], "i32"), "i32", 3)]).toEqual([0, -7, 2147483647]);
  expect([...decode(encode([0, 7, 4294967295], "u32"), "u32", 3)]).toEqual([0, 7, 4294967295]);
  expect([...decode(encode([0, 1, 5, -1], "bool"), "bool", 4)]).toEqual([0, 1, 1, 1]);
  expect(encode(values, "f16").byteLength).toBe(10);
  expect(encode([1, 0], "bool").byteLength).toBe(8);
});

test("encoding copies: the caller's array may change afterwards", () => {
  const values = Float32Array.of(1, 2, 3, 4);
  const part = values.subarray(1, 3);
  const bytes = encode(part, "f32");
  values.fill(9);
  expect(bytes.byteLength).toBe(8);
  expect([...new Float32Array(bytes)]).toEqual([2, 3]);
});
