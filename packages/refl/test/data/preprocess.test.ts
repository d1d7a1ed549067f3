/** Pictures as scorers see them: the modes of decoded files, and the shared pictures against Pillow (`reference/`). */
import { readFileSync } from "node:fs";
import { pillowSquare } from "@refl/models";
import { PNG } from "pngjs";
import { describe, expect, it } from "vitest";
import { sharedData } from "../../../models/test/shared-data.ts";
import { decodePixels } from "../../src/data/image.node.ts";

interface SharedPicture {
  size: [number, number];
  sum: number;
  hash: string;
  corner: number[];
  inner: number[];
}

const golden: { images: Record<string, SharedPicture> } = JSON.parse(
  readFileSync(new URL("../../../models/test/golden/preprocess.json", import.meta.url), "utf8"),
);

function fnv(data: Uint8Array): string {
  let hash = 0x811c9dc5;
  for (const byte of data) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, "0");
}

describe("decoded pictures", () => {
  it.each([
    [0, "L", [10]],
    [4, "LA", [10, 40]],
    [2, "RGB", [10, 20, 30]],
    [6, "RGBA", [10, 20, 30, 40]],
  ] as const)("of PNG colour type %i are %s", async (colorType, mode, pixel) => {
    const png = new PNG({ width: 2, height: 1, colorType, inputColorType: 6 });
    const grey = colorType === 0 || colorType === 4;
    png.data = Buffer.from([10, grey ? 10 : 20, grey ? 10 : 30, 40, 10, grey ? 10 : 20, grey ? 10 : 30, 40]);
    const bytes = PNG.sync.write(png, {
      colorType,
      inputColorType: 6,
      inputHasAlpha: true,
      bgColor: { red: 10, green: 20, blue: 30 },
    });
    const image = await decodePixels(new Uint8Array(bytes), "x.png");
    expect([image.mode, image.width, image.height]).toEqual([mode, 2, 1]);
    if (mode === "LA" || mode === "RGBA") expect([...image.data.slice(0, pixel.length)]).toEqual(pixel);
  });

  it("of a palette are P, of one bit 1", async () => {
    const palette =
      "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABAQMAAADO7O3JAAAABlBMVEX/AAAAAP9sof2OAAAACklEQVQI12NoAAAAggCB3UNq9AAAAABJRU5ErkJggg==";
    const image = await decodePixels(new Uint8Array(Buffer.from(palette, "base64")), "palette.png");
    expect(image.mode).toBe("P");
    expect(image.data.length).toBe(6);
    expect([255, 0]).toContain(image.data[0]);
  });
});

describe("shared pictures", () => {
  for (const [name, expected] of Object.entries(golden.images)) {
    it(`${name} is Pillow's, pixel for pixel`, async (context) => {
      const image = await decodePixels(sharedData(context, `imagereward/images/${name}`), name);
      expect([image.mode, image.width, image.height]).toEqual(["RGB", ...expected.size]);
      const square = pillowSquare(image, 224);
      const pixel = (row: number, column: number) => [...square.subarray((row * 224 + column) * 3).subarray(0, 3)];
      expect(pixel(0, 0)).toEqual(expected.corner);
      expect(pixel(100, 57)).toEqual(expected.inner);
      expect(square.reduce((sum, x) => sum + x, 0)).toBe(expected.sum);
      expect(fnv(square)).toBe(expected.hash);
    });
  }
});
