/** Pillow's resize and the scorers' preprocessing against Pillow (`reference/`), byte for byte, in every mode. */
import { readFileSync } from "node:fs";
import {
  type PillowImage,
  type PillowMode,
  pillowChannels,
  pillowResize,
  pillowSquare,
  pillowToRgb,
} from "@refl/models";
import { ShapeError } from "@refl/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

type Pair = [number, number];
const golden: {
  resizes: { mode: PillowMode; from: Pair; to: Pair; hash: string }[];
  before: { mode: PillowMode; from: Pair; to: Pair; hash: string }[];
  squares: { mode: PillowMode; from: Pair; size: number; hash: string }[];
} = JSON.parse(readFileSync(new URL("../golden/preprocess.json", import.meta.url), "utf8"));

/** Byte i is the top of the hash of i. */
function pixels(count: number): Uint8Array {
  return Uint8Array.from({ length: count }, (_, i) => {
    let x = Math.imul(i, 0x9e3779b9) >>> 0;
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d) >>> 0;
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b) >>> 0;
    return x >>> 24;
  });
}

function picture(mode: PillowMode, [width, height]: Pair): PillowImage {
  if (mode === "P") {
    const palette = pixels(768);
    const data = Uint8Array.from({ length: width * height * 3 });
    for (const [i, index] of pixels(width * height).entries())
      data.set(palette.subarray(index * 3, index * 3 + 3), i * 3);
    return { mode, width, height, data };
  }
  const data = pixels(width * height * pillowChannels(mode));
  return { mode, width, height, data: mode === "1" ? data.map((x) => (x > 127 ? 255 : 0)) : data };
}

function fnv(data: Uint8Array): string {
  let hash = 0x811c9dc5;
  for (const byte of data) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, "0");
}

describe("Pillow", () => {
  it.each(golden.resizes)("$mode from $from to $to", ({ mode, from, to, hash }) => {
    expect(fnv(pillowResize(picture(mode, from), ...to).data)).toBe(hash);
  });

  it.each(golden.before)("before 13: $mode from $from to $to", ({ mode, from, to, hash }) => {
    expect(fnv(pillowResize(picture(mode, from), ...to, "horizontal-first").data)).toBe(hash);
  });

  it.each(golden.squares)("$mode of $from as a square of $size", ({ mode, from, size, hash }) => {
    expect(fnv(pillowSquare(picture(mode, from), size))).toBe(hash);
  });
});

describe("pillowResize", () => {
  it("keeps a plain colour and the size asked for", () => {
    const side = fc.integer({ min: 1, max: 40 });
    fc.assert(
      fc.property(
        side,
        side,
        side,
        side,
        fc.integer({ min: 0, max: 255 }),
        (width, height, toWidth, toHeight, grey) => {
          const data = new Uint8Array(width * height).fill(grey);
          const out = pillowResize({ mode: "L", width, height, data }, toWidth, toHeight);
          expect(out.data.length).toBe(toWidth * toHeight);
          expect(out.data.every((x) => x === grey)).toBe(true);
        },
      ),
    );
  });

  it("returns a picture that has the size, drops alpha, and refuses what does not fit", () => {
    const image = picture("RGBA", [3, 2]);
    expect(pillowResize(image, 3, 2)).toBe(image);
    expect([...pillowToRgb({ mode: "RGBA", width: 1, height: 1, data: Uint8Array.of(9, 8, 7, 0) }).data]).toEqual([
      9, 8, 7,
    ]);
    expect([...pillowToRgb({ mode: "LA", width: 1, height: 1, data: Uint8Array.of(9, 8) }).data]).toEqual([9, 9, 9]);
    expect(() => pillowResize(image, 0, 1)).toThrow(ShapeError);
    expect(() => pillowResize({ ...image, width: 4 }, 1, 1)).toThrow(ShapeError);
  });
});
