/** Own data on disk: picture formats, resizing, reading a folder, and what the check finds in a bad one. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { DataError } from "@refl/tensor";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { dataCheck, type Finding } from "../../src/data/check.node.ts";
import { emoji32 } from "../../src/data/emoji32.ts";
import { partsOfFolder, readCaptions, readComparisons, readPictures } from "../../src/data/folder.node.ts";
import { decodeImage, readImage } from "../../src/data/image.node.ts";
import { fitSquare } from "../../src/data/resize.ts";
import { testUnseenCombinations } from "../../src/data/splits/test.ts";
import { encodePng } from "../../src/io/png.node.ts";

/** 16 x 8 pictures of one colour near (200, 60, 60). */
const JPEG =
  "/9j/4AAQSkZJRgABAQAAAQABAAD/2wCEAAgICAgJCAkKCgkNDgwODRMREBARExwUFhQWFBwrGx8bGx8bKyYuJSMlLiZENS8vNUROQj5CTl9VVV93cXecnNEBCAgICAkICQoKCQ0ODA4NExEQEBETHBQWFBYUHCsbHxsbHxsrJi4lIyUuJkQ1Ly81RE5CPkJOX1VVX3dxd5yc0f/CABEIAAgAEAMBIgACEQEDEQH/xAAoAAEBAAAAAAAAAAAAAAAAAAAABQEBAQAAAAAAAAAAAAAAAAAABQf/2gAMAwEAAhADEAAAAIoHo3//xAAUEAEAAAAAAAAAAAAAAAAAAAAQ/9oACAEBAAE/AD//xAAUEQEAAAAAAAAAAAAAAAAAAAAA/9oACAECAQE/AH//xAAUEQEAAAAAAAAAAAAAAAAAAAAA/9oACAEDAQE/AH//2Q==";
const WEBP = "UklGRjgAAABXRUJQVlA4ICwAAACQAQCdASoQAAgAAgA0JaACdLoAA5gA/uuOX6FGyia8f/UGf+QZ/5Bn6eAAAA==";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "refl-data-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, content: string | Uint8Array): void {
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  writeFileSync(join(folder, name), content);
}

const train = emoji32.combinations("train");
const pngOf = (n: number): Uint8Array => encodePng({ width: 32, height: 32, rgb: emoji32.render(train[n]!) });
const lines = (...records: unknown[]): string => records.map((record) => `${JSON.stringify(record)}\n`).join("");

async function findings(task = emoji32): Promise<Finding[]> {
  const found: Finding[] = [];
  for await (const finding of dataCheck(folder, { task }))
    found.push({ ...finding, file: finding.file.slice(folder.length + 1) });
  return found;
}

describe("pictures", () => {
  it("are read from PNG, JPEG and WebP alike", async () => {
    for (const base64 of [JPEG, WEBP]) {
      const image = await decodeImage(Buffer.from(base64, "base64"), "x");
      expect([image.width, image.height]).toEqual([16, 8]);
      for (const [i, value] of [...image.rgb].entries())
        expect(Math.abs(value - [200, 60, 60][i % 3]!)).toBeLessThan(5);
    }
    const png = await decodeImage(pngOf(0), "x");
    expect(png.rgb).toEqual(emoji32.render(train[0]!));
  });

  it("that are damaged or of another format give DataError with the file's name", async () => {
    const damaged = [
      pngOf(0).subarray(0, 200),
      Buffer.from(JPEG, "base64").subarray(0, 120),
      Buffer.from(WEBP, "base64").subarray(0, 30),
      Buffer.from("GIF89a..."),
      new Uint8Array(),
    ];
    for (const bytes of damaged) {
      const reading = decodeImage(bytes, "dir/bad.png");
      await expect(reading).rejects.toBeInstanceOf(DataError);
      await expect(reading).rejects.toThrow(/dir\/bad\.png/);
    }
    await expect(readImage(join(folder, "none.png"))).rejects.toThrow(/none\.png: no such file/);
    await expect(readImage(folder)).rejects.toThrow(/cannot be read \(EISDIR\)/);
    const after = await decodeImage(Buffer.from(JPEG, "base64"), "x");
    expect(after.width).toBe(16);
  });

  it("are cut to the middle square and averaged over areas", () => {
    const rgb = new Uint8Array(6 * 2 * 3).map((_, i) => (Math.floor(i / 3) % 6) * 10);
    expect([...fitSquare({ width: 6, height: 2, rgb }, 1)]).toEqual([25, 25, 25]);
    expect([...fitSquare({ width: 6, height: 2, rgb }, 2)].slice(0, 6)).toEqual([20, 20, 20, 30, 30, 30]);
    const large = emoji32.render(train[3]!);
    expect(fitSquare({ width: 32, height: 32, rgb: large }, 32)).toEqual(large);
    expect(fitSquare({ width: 5, height: 7, rgb: new Uint8Array(105).fill(77) }, 3)).toEqual(
      new Uint8Array(27).fill(77),
    );
    expect(() => fitSquare({ width: 2, height: 2, rgb: new Uint8Array(3) }, 2)).toThrow(/needs height x width x 3/);
  });
});

describe("a folder", () => {
  it("is read part by part", async () => {
    write(
      "train/captions.jsonl",
      lines({ file_name: "a/0.png", text: "a big apple" }, { file_name: "1.png", text: "two" }),
    );
    write("train/a/0.png", pngOf(0));
    write("train/1.png", pngOf(1));
    write(
      "train/comparisons.json",
      '[{"id": "x", "prompt": "p", "generations": ["1.png", "a/0.png"], "ranking": [2, 1]}]',
    );
    write("test/metadata.jsonl", lines({ file_name: "0.png", text: "three" }));
    const [first, second] = await partsOfFolder(folder);
    expect(second!.name).toBe("test");
    expect(await readCaptions(second!)).toEqual([{ fileName: "0.png", text: "three", line: 1 }]);
    expect((await readComparisons(first!))[0]!.ranking).toEqual([2, 1]);
    const pictures = [];
    for await (const picture of readPictures(first!, 16)) pictures.push(picture);
    expect(pictures.map(({ caption, rgb }) => [caption, rgb.length])).toEqual([
      ["a big apple", 768],
      ["two", 768],
    ]);
  });

  it("that is missing or empty is named", async () => {
    await expect(partsOfFolder(join(folder, "none"))).rejects.toThrow(/none: no such folder/);
    await expect(readCaptions((await partsOfFolder(folder))[0]!)).rejects.toThrow(
      /has no captions\.jsonl or metadata\.jsonl/,
    );
    expect((await findings())[0]).toMatchObject({ severity: "error", code: "no-captions" });
  });

  it("without faults has no findings", async () => {
    for (const [n, part] of ["train", "validation"].entries()) {
      write(`${part}/captions.jsonl`, lines({ file_name: "0.png", text: emoji32.captionOf(train[n]!) }));
      write(`${part}/0.png`, pngOf(n));
    }
    expect(await findings()).toEqual([]);
  });

  it("with faults has each named by file and line", async () => {
    const held = emoji32.captionOf(testUnseenCombinations(emoji32)[0]!);
    const captions = [
      { file_name: "0.png", text: emoji32.captionOf(train[0]!) },
      { file_name: "cut.png", text: emoji32.captionOf(train[1]!) },
      { file_name: "gone.png", text: emoji32.captionOf(train[2]!) },
      { file_name: "twin.png", text: emoji32.captionOf(train[0]!, 1) },
      { file_name: "../0.png", text: "x" },
      { file_name: "0.png", text: "again" },
      { file_name: "5.png", text: "" },
      { file_name: "3.png", text: "a big zebra on a blue background" },
      { file_name: "4.png", text: held },
    ];
    write("train/captions.jsonl", `${lines(...captions)}{"file_name": \n`);
    write("train/0.png", pngOf(0));
    write("train/cut.png", pngOf(1).subarray(0, 300));
    write("train/twin.png", pngOf(0));
    write("train/3.png", pngOf(3));
    write("train/4.png", pngOf(4));
    write("train/stray.png", pngOf(5));
    write(
      "test/captions.jsonl",
      lines({ file_name: "a.png", text: "new words" }, { file_name: "b.png", text: `${captions[1]!.text}!` }),
    );
    write("test/a.png", pngOf(0));
    write("test/b.png", pngOf(7));
    const ranked = { prompt: "a prompt", generations: ["3.png", "lost.png"] };
    write(
      "train/comparisons.jsonl",
      lines(
        { id: "c", ...ranked, ranking: [1, 2] },
        { id: "d", ...ranked, ranking: [1] },
        { id: "c", ...ranked, ranking: [2, 1] },
      ),
    );
    const found = (await findings()).filter(({ code }) => code !== "unknown-words");
    const place = ({ severity, code, file, line, field }: Finding): string =>
      `${severity} ${code} ${file}:${line} ${field}`.trim();
    expect(found.map(place).sort()).toEqual(
      [
        "error record train/captions.jsonl:5 file_name",
        "error record train/captions.jsonl:6 file_name",
        "error record train/captions.jsonl:7 text",
        "error record train/captions.jsonl:10",
        "error picture train/captions.jsonl:2 file_name",
        "error picture train/captions.jsonl:3 file_name",
        "warning duplicate-picture train/captions.jsonl:4 file_name",
        "error held-out train/captions.jsonl:9 text",
        "error record train/comparisons.jsonl:2 ranking",
        "error duplicate-id train/comparisons.jsonl:3 id",
        "error picture train/comparisons.jsonl:1 generations",
        "warning no-caption train/stray.png:0",
        "error leak-picture test/captions.jsonl:1 file_name",
        "error leak-caption test/captions.jsonl:2 text",
      ].sort(),
    );
    const unknown = (await findings()).find(({ code, line }) => code === "unknown-words" && line === 8);
    expect(unknown?.message).toContain("zebra");
  });
});
