/** Half floats over all 65,536 bit patterns, and rounding against exact arithmetic. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  bf16ToF32,
  bf16ToNumber,
  f16BitsToF32Bits,
  f16ToF32,
  f16ToNumber,
  f32BitsToBf16Bits,
  f32BitsToF16Bits,
  f32ToBf16,
  f32ToF16,
  numberToBf16,
  numberToF16,
} from "../src/index.ts";

const ALL = Uint16Array.from({ length: 65536 }, (_, i) => i);

/** The value of a 16-bit float from its definition. */
function halfValue(bits: number, exponentBits: number): number {
  const mantissaBits = 15 - exponentBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> mantissaBits) & (2 ** exponentBits - 1);
  const mantissa = bits & (2 ** mantissaBits - 1);
  if (exponent === 2 ** exponentBits - 1) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (exponent === 0) return sign * mantissa * 2 ** (1 - bias - mantissaBits);
  return sign * (1 + mantissa * 2 ** -mantissaBits) * 2 ** (exponent - bias);
}

/** Bits of the positive 16-bit float nearest to x >= 0, ties to even, by binary search over the ordered patterns. */
function nearest(x: number, exponentBits: number): number {
  const infinity = (2 ** exponentBits - 1) << (15 - exponentBits);
  let low = 0;
  let high = infinity;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (halfValue(middle, exponentBits) <= x) low = middle;
    else high = middle;
  }
  const below = halfValue(low, exponentBits);
  // The step above the largest finite value is as wide as the one below it.
  const above = high === infinity ? 2 * below - halfValue(low - 1, exponentBits) : halfValue(high, exponentBits);
  if (x - below !== above - x) return x - below < above - x ? low : high;
  return low % 2 === 0 ? low : high;
}

describe.each([
  { name: "F16", exponentBits: 5, widen: f16ToF32, narrow: f32ToF16, toNumber: f16ToNumber, fromNumber: numberToF16 },
  {
    name: "BF16",
    exponentBits: 8,
    widen: bf16ToF32,
    narrow: f32ToBf16,
    toNumber: bf16ToNumber,
    fromNumber: numberToBf16,
  },
])("$name", ({ exponentBits, widen, narrow, toNumber, fromNumber }) => {
  it("widens every pattern to its value", () => {
    const wide = widen(ALL);
    for (const bits of ALL) {
      const expected = halfValue(bits, exponentBits);
      if (!Object.is(wide[bits], expected)) expect(wide[bits], `bits ${bits}`).toBe(expected);
      if (!Object.is(toNumber(bits), expected)) expect(toNumber(bits), `bits ${bits}`).toBe(expected);
    }
  });

  it("gives every pattern back, infinities included", () => {
    const back = narrow(widen(ALL));
    for (const bits of ALL) {
      if (Number.isNaN(halfValue(bits, exponentBits))) expect(toNumber(back[bits] as number)).toBeNaN();
      else if (back[bits] !== bits) expect(back[bits]).toBe(bits);
    }
  });

  it("rounds at, just below and just above every midpoint", () => {
    const limit = (2 ** exponentBits - 1) << (15 - exponentBits);
    const around = new Uint32Array(3);
    const values = new Float32Array(around.buffer);
    for (let bits = 0; bits + 1 < limit; bits++) {
      const middle = (halfValue(bits, exponentBits) + halfValue(bits + 1, exponentBits)) / 2;
      values[1] = middle;
      around[0] = (around[1] as number) - 1;
      around[2] = (around[1] as number) + 1;
      const [below, at, above] = narrow(values);
      const even = bits % 2 === 0 ? bits : bits + 1;
      if (below !== bits || at !== even || above !== bits + 1)
        expect([below, at, above]).toEqual([bits, even, bits + 1]);
    }
  });

  it("rounds any float32 to the nearest", () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true }), (x) => {
        const bits = fromNumber(x);
        const sign = Object.is(x, -0) || x < 0 ? 0x8000 : 0;
        const magnitude = Math.abs(x) === Number.POSITIVE_INFINITY ? halfValue(bits & 0x7fff, exponentBits) : undefined;
        if (magnitude === undefined) expect(bits).toBe(sign | nearest(Math.abs(x), exponentBits));
        else expect(magnitude).toBe(Number.POSITIVE_INFINITY);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("bit patterns", () => {
  it("keeps F16 NaN payloads", () => {
    for (const bits of ALL) {
      const back = f32BitsToF16Bits(f16BitsToF32Bits(bits));
      if (back !== bits) expect(back).toBe(bits);
    }
  });

  it("keeps every NaN a NaN", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 0x7fffff }), fc.boolean(), (payload, negative) => {
        const nan = ((negative ? 0x80000000 : 0) + 0x7f800000 + payload) >>> 0;
        expect(halfValue(f32BitsToF16Bits(nan), 5)).toBeNaN();
        expect(halfValue(f32BitsToBf16Bits(nan), 8)).toBeNaN();
      }),
    );
  });
});
