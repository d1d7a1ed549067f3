/** PNG through pngjs and on plain bytes: round trips, text chunks of both kinds, and refusal of damaged files. */
import { DataError } from "@refl/tensor";
import fc from "fast-check";
import { zlibSync } from "fflate";
import { PNG } from "pngjs";
import { describe, expect, it } from "vitest";
import type { RgbImage } from "../../src/io/grid.ts";
import { decodePng, encodePng } from "../../src/io/png.node.ts";
import { crc32, insertPngText, readPngChunks, readPngText } from "../../src/io/png-chunks.ts";

const image = fc
  .tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }), fc.integer())
  .map(([width, height, seed]): RgbImage => {
    const rgb = new Uint8Array(width * height * 3);
    for (let i = 0; i < rgb.length; i++) rgb[i] = (i * 2654435761 + seed) >>> 11;
    return { width, height, rgb };
  });

const sample: RgbImage = { width: 2, height: 1, rgb: Uint8Array.of(255, 0, 0, 1, 2, 3) };

function chunk(type: string, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(data.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(data, 8);
  view.setUint32(data.length + 8, crc32(bytes, 4, data.length + 8));
  return bytes;
}

/** Puts a raw chunk right after IHDR. */
function splice(png: Uint8Array, raw: Uint8Array): Uint8Array {
  const out = new Uint8Array(png.length + raw.length);
  out.set(png.subarray(0, 33));
  out.set(raw, 33);
  out.set(png.subarray(33), 33 + raw.length);
  return out;
}

describe("encodePng and decodePng", () => {
  it("give back the same pixels", () => {
    fc.assert(
      fc.property(image, (picture) => {
        expect(decodePng(encodePng(picture))).toEqual(picture);
      }),
      { numRuns: 50 },
    );
  });

  it("lays transparency over white", () => {
    const png = new PNG({ width: 1, height: 1 });
    png.data.set([0, 100, 200, 51]);
    expect([...decodePng(PNG.sync.write(png)).rgb]).toEqual([204, 224, 244]);
  });

  it("refuses every truncation and a flipped bit anywhere with the file's name", () => {
    const png = encodePng(sample, { parameters: "a red pixel" });
    for (let length = 0; length < png.length; length++)
      expect(() => decodePng(png.slice(0, length), "cut.png")).toThrow(DataError);
    for (let at = 0; at < png.length; at++) {
      const broken = png.slice();
      broken[at]! ^= 1;
      expect(() => decodePng(broken, "flipped.png")).toThrow(/flipped\.png/);
    }
  });

  it("refuses a header of four thousand million pixels before taking memory", () => {
    const png = encodePng(sample);
    const view = new DataView(png.buffer, png.byteOffset);
    view.setUint32(16, 65536);
    view.setUint32(20, 65536);
    view.setUint32(29, crc32(png, 12, 29));
    expect(() => decodePng(png, "huge.png")).toThrow(/65536 x 65536/);
  });
});

describe("text chunks", () => {
  it("give back any text under any keyword, and keep the pixels", () => {
    fc.assert(
      fc.property(image, fc.string({ unit: "binary" }), fc.string({ unit: "grapheme" }), (picture, one, two) => {
        const texts = { parameters: one.replaceAll("\0", ""), refl: two };
        const png = insertPngText(encodePng(picture), texts);
        expect(Object.fromEntries(readPngText(png))).toEqual(texts);
        expect(decodePng(png)).toEqual(picture);
      }),
      { numRuns: 50 },
    );
  });

  it("uses tEXt for Latin-1 and iTXt beyond, and stands before the pixels", () => {
    const png = encodePng(sample, { a: "Café", b: "猫" });
    expect(readPngChunks(png).map((c) => c.type)).toEqual(["IHDR", "tEXt", "iTXt", "IDAT", "IEND"]);
  });

  it("replaces a text of the same keyword", () => {
    const once = insertPngText(encodePng(sample), { parameters: "old", other: "kept" });
    const twice = insertPngText(once, { parameters: "new" });
    expect(Object.fromEntries(readPngText(twice))).toEqual({ parameters: "new", other: "kept" });
    expect(readPngChunks(twice).filter((c) => c.type === "tEXt")).toHaveLength(2);
  });

  it("reads compressed zTXt and iTXt, and stops a bomb", () => {
    const key = (name: string, ...header: number[]) => [...new TextEncoder().encode(name), 0, ...header];
    const packed = [...zlibSync(new TextEncoder().encode("hello"))];
    const png = splice(
      splice(encodePng(sample), chunk("zTXt", Uint8Array.from([...key("z", 0), ...packed]))),
      chunk("iTXt", Uint8Array.from([...key("i", 1, 0, 0, 0), ...packed])),
    );
    expect(Object.fromEntries(readPngText(png))).toEqual({ z: "hello", i: "hello" });
    const bomb = [...zlibSync(new Uint8Array(20_000_000))];
    expect(() =>
      readPngText(splice(encodePng(sample), chunk("zTXt", Uint8Array.from([...key("z", 0), ...bomb])))),
    ).toThrow(/larger than/);
  });

  it("refuses a keyword that PNG does not allow", () => {
    for (const keyword of ["", " a", "a ", "é", "x".repeat(80)])
      expect(() => insertPngText(encodePng(sample), { [keyword]: "t" })).toThrow(DataError);
  });
});
