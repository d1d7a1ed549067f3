/** Pictures to be scored: files and folders in order, prompts from PNGs, and refusals. */
import { promises as fs } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { embedSampleRecord, type SampleRecord } from "../../src/io/parameters.ts";
import { pictureFiles, readPrompted } from "../../src/io/pictures.node.ts";
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

async function read(files: string[], prompt?: string) {
  const pictures = [];
  for await (const picture of readPrompted(files, prompt)) pictures.push(picture);
  return pictures;
}

it("finds pictures in and below folders", async () => {
  expect(await pictureFiles([root, join(root, "b.png")])).toEqual(
    ["b.png", "deep/a.PNG", "b.png"].map((name) => join(root, name)),
  );
  await expect(pictureFiles([join(root, "none")])).rejects.toThrow(/none: no such file/);
});

it("takes the prompt of each PNG, or the given one for all", async () => {
  const [cat] = await read([join(root, "b.png")]);
  expect(cat).toMatchObject({ prompt: "a cat", image: { width: 1, rgb: Uint8Array.of(1, 2, 3) } });
  const both = await read(await pictureFiles([root]), "a dog");
  expect(both.map((picture) => picture.prompt)).toEqual(["a dog", "a dog"]);
});

it("refuses pictures without a prompt", async () => {
  await expect(read([join(root, "deep", "a.PNG")])).rejects.toThrow(/no generation parameters/);
  await expect(read([join(root, "x.jpg")])).rejects.toThrow(/--prompt/);
});
