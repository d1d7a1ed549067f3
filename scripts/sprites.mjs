/** Rasterises the emoji of the `emoji32` pictures: `node scripts/sprites.mjs` writes the sheet and its TypeScript copy, `--check` fails if they differ. */
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { deflateSync, inflateSync } from "node:zlib";
import { Resvg } from "@resvg/resvg-js";

const require = createRequire(import.meta.url);
const reflPackage = fileURLToPath(new URL("../packages/refl/", import.meta.url));
const { PNG } = createRequire(`${reflPackage}package.json`)("pngjs");
const { icons } = require("@iconify-json/fluent-emoji-flat/icons.json");
const { version } = require("@iconify-json/fluent-emoji-flat/package.json");

const OBJECTS = {
  apple: "red-apple",
  car: "automobile",
  cat: "cat-face",
  dog: "dog-face",
  fish: "fish",
  frog: "frog",
  house: "house",
  mushroom: "mushroom",
  panda: "panda",
  rocket: "rocket",
  star: "star",
  tree: "deciduous-tree",
};
const SIZES = [28, 16];
/** Each pixel is the mean of OVERSAMPLING x OVERSAMPLING samples, weighted by alpha: the renderer's own edges would show seams at these sizes. */
const OVERSAMPLING = 8;

/** Straight-alpha RGBA, size * size * 4 bytes. */
function rasterise(body, size) {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">${body}</svg>`;
  const wide = size * OVERSAMPLING;
  const { data } = PNG.sync.read(new Resvg(svg, { fitTo: { mode: "width", value: wide } }).render().asPng());
  const pixels = new Uint8Array(size * size * 4);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const sum = [0, 0, 0, 0];
      for (let dy = 0; dy < OVERSAMPLING; dy++) {
        for (let dx = 0; dx < OVERSAMPLING; dx++) {
          const i = ((y * OVERSAMPLING + dy) * wide + x * OVERSAMPLING + dx) * 4;
          for (let c = 0; c < 3; c++) sum[c] += data[i + c] * data[i + 3];
          sum[3] += data[i + 3];
        }
      }
      const o = (y * size + x) * 4;
      for (let c = 0; c < 3; c++) pixels[o + c] = sum[3] ? Math.round(sum[c] / sum[3]) : 0;
      pixels[o + 3] = Math.round(sum[3] / OVERSAMPLING ** 2);
    }
  }
  return pixels;
}

const names = Object.keys(OBJECTS);
const sprites = names.map((name) => SIZES.map((size) => rasterise(icons[OBJECTS[name]].body, size)));

const sheet = new PNG({ width: names.length * SIZES[0], height: SIZES.reduce((a, b) => a + b) });
sheet.data.fill(0);
for (const [column, ofObject] of sprites.entries()) {
  let top = 0;
  for (const [row, pixels] of ofObject.entries()) {
    const size = SIZES[row];
    for (let y = 0; y < size; y++) {
      const to = ((top + y) * sheet.width + column * SIZES[0]) * 4;
      sheet.data.set(pixels.subarray(y * size * 4, (y + 1) * size * 4), to);
    }
    top += size;
  }
}
const png = PNG.sync.write(sheet);

const packed = Buffer.concat(sprites.flat());
const source = `/** Sprites of the emoji32 pictures, made by scripts/sprites.mjs from @iconify-json/fluent-emoji-flat ${version} (Fluent Emoji, Microsoft, MIT licence). */

/** The objects, in the order of their pixels. */
export const SPRITE_OBJECTS = [
${names.map((name) => `  "${name}",\n`).join("")}] as const;

/** Edge lengths in pixels: each object's pixels come once for every size, in this order. */
export const SPRITE_SIZES = ${JSON.stringify(SIZES).replaceAll(",", ", ")} as const;

/** Base64 of the zlib stream of all pixels: straight-alpha RGBA bytes, object by object, size by size, row by row. */
export const SPRITE_DATA =
  "${deflateSync(packed, { level: 9 }).toString("base64")}";
`;

const sheetPath = `${reflPackage}assets/emoji.png`;
const sourcePath = `${reflPackage}src/data/emoji-sprites.ts`;
if (process.argv.includes("--check")) {
  // Pixels are compared, not files: deflate's output differs between builds of zlib.
  const data = /"([A-Za-z0-9+/=]{100,})"/.exec(readFileSync(sourcePath, "utf8"))?.[1] ?? "";
  const same =
    inflateSync(Buffer.from(data, "base64")).equals(packed) &&
    PNG.sync.read(readFileSync(sheetPath)).data.equals(sheet.data);
  if (!same) {
    console.error("the committed sprites are not what scripts/sprites.mjs makes: run it without --check");
    process.exitCode = 1;
  }
} else {
  writeFileSync(sheetPath, png);
  writeFileSync(sourcePath, source);
}
