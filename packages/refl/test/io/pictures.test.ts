/** Pictures to be scored: files, folders and patterns in order, prompts from PNGs, and refusals. */
import { promises as fs } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { patternMatcher, splitPattern } from "../../src/io/glob.ts";
import { embedSampleRecord, type SampleRecord } from "../../src/io/parameters.ts";
import { pictureFiles, scoredInputs } from "../../src/io/pictures.node.ts";
import { encodePng } from "../../src/io/png.node.ts";

const record: SampleRecord = {
  version: 1,
  prompt: "a cat",
  steps: 1,
  sampler: "ddim",
  guidance: 1,
  seed: 0,
  index: 0,
  width: 1,
  height: 1,
  model: "m",
  modelHash: "0",
};
let root: string;
beforeAll(async () => {
  root = await fs.mkdtemp(join(tmpdir(), "refl-pictures-"));
  const png = encodePng({ width: 1, height: 1, rgb: Uint8Array.of(1, 2, 3) });
  await fs.mkdir(join(root, "deep"));
  await fs.writeFile(join(root, "b.png"), embedSampleRecord(png, record));
  await fs.writeFile(join(root, "deep", "a.PNG"), png);
  await fs.writeFile(join(root, "notes.txt"), "");
});
afterAll(() => fs.rm(root, { recursive: true }));

it("finds pictures in and below folders and by patterns, each once", async () => {
  const [b, a] = ["b.png", "deep/a.PNG"].map((name) => join(root, name));
  expect(await pictureFiles([root, join(root, "b.png")])).toEqual([b, a]);
  expect(await pictureFiles([`${root}/`])).toEqual([b, a]);
  expect(await pictureFiles([join(root, "*.png")])).toEqual([b]);
  expect(await pictureFiles([join(root, "**", "*.{png,PNG}")])).toEqual([b, a]);
  expect(await pictureFiles([join(root, "deep", "[a-c].PNG"), join(root, "?.png")])).toEqual([a, b]);
  await expect(pictureFiles([join(root, "none")])).rejects.toThrow(/none: no such file/);
  await expect(pictureFiles([join(root, "*.webp")])).rejects.toThrow(/\*\.webp: images: no file matches this pattern/);
});

it("knows patterns within names and over folders", () => {
  for (const [pattern, yes, no] of [
    ["*.png", "a.png", "a/b.png"],
    ["**/*.png", "a/b/c.png", "a/b/c.jpg"],
    ["a.+(b)", "a.+(b)", "aa+(b)"],
    ["[!a]?.png", "bc.png", "ab.png"],
    ["{x,y{1,2}}/*", "y2/z", "z/y"],
    ["**", "a/b", ""],
  ] as const) {
    const matches = patternMatcher(pattern);
    expect(matches(yes), `${pattern} ${yes}`).toBe(true);
    expect(matches(no), `${pattern} ${no}`).toBe(pattern === "**");
  }
  expect(splitPattern("a/b/*.png")).toEqual({ folder: "a/b", rest: "*.png" });
  expect(splitPattern("/*.png")).toEqual({ folder: "/", rest: "*.png" });
  expect(splitPattern("*.png")).toEqual({ folder: ".", rest: "*.png" });
});

it("takes the prompt of each PNG, or the given ones for all", async () => {
  const [cat] = await scoredInputs([join(root, "b.png")], []);
  expect(cat!.prompts).toEqual(["a cat"]);
  expect(await cat!.read()).toEqual({ mode: "RGB", width: 1, height: 1, data: Uint8Array.of(1, 2, 3) });
  const both = await scoredInputs(await pictureFiles([root]), ["a dog", "a cat"]);
  expect(both.map(({ prompts }) => prompts)).toEqual([
    ["a dog", "a cat"],
    ["a dog", "a cat"],
  ]);
  const none = await scoredInputs([join(root, "deep", "a.PNG")], null);
  expect(none[0]!.prompts).toEqual([]);
});

it("refuses pictures without a prompt", async () => {
  await expect(scoredInputs([join(root, "deep", "a.PNG")], [])).rejects.toThrow(/no generation parameters/);
  await expect(scoredInputs([join(root, "x.jpg")], [])).rejects.toThrow(/--prompt/);
});
