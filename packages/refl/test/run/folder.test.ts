/** Run folders: numbering, metrics and their truncation, atomic checkpoints and what is kept, and a disk that fills up. */
import { promises as fs } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readAll, StorageError } from "@refl/models";
import { CheckpointError, DataError, ReflError } from "@refl/tensor";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { listFiles } from "../../src/io/files.node.ts";
import { layoutGrid } from "../../src/io/grid.ts";
import { decodePng } from "../../src/io/png.node.ts";
import { readPngText } from "../../src/io/png-chunks.ts";
import { createRunFolder, modelFolderAt, openRunFolder } from "../../src/run/folder.node.ts";
import type { FolderWriter } from "../../src/run/sink.ts";
import { fillDiskAfter, restoreDisk } from "../io/full-disk.ts";
import { writing } from "./writing.ts";

let root: string;
beforeEach(async () => {
  root = await fs.mkdtemp(join(tmpdir(), "refl-run-"));
});
afterEach(async () => {
  restoreDisk();
  await fs.rm(root, { recursive: true });
});

describe("createRunFolder", () => {
  it("takes the first number above all that are taken", async () => {
    await fs.mkdir(join(root, "demo-2"));
    await fs.mkdir(join(root, "demo-x"));
    await fs.writeFile(join(root, "demo-7"), "");
    const folders = await Promise.all([1, 2, 3].map(() => createRunFolder(root, "demo", { steps: 1 })));
    expect(folders.map((f) => f.location).sort()).toEqual([8, 9, 10].map((n) => join(root, `demo-${n}`)).sort());
    expect(await folders[0]!.readConfig()).toEqual({ steps: 1 });
  });

  it("refuses names that are no plain file names", async () => {
    for (const name of ["", "../x", "a/b", ".hidden", "-x"])
      await expect(createRunFolder(root, name, {})).rejects.toThrow(DataError);
  });

  it("leaves no folder when its config cannot be written", async () => {
    fillDiskAfter(3);
    await expect(createRunFolder(root, "demo", { steps: 1 })).rejects.toThrow(/the disk is full/);
    expect(await fs.readdir(root)).toEqual([]);
  });

  it("names the place when the root is a file", async () => {
    await fs.writeFile(join(root, "file"), "");
    await expect(createRunFolder(join(root, "file"), "demo", {})).rejects.toThrow(StorageError);
  });
});

describe("metrics", () => {
  it("are appended line by line and truncated to the resumed step", async () => {
    const run = await createRunFolder(root, "demo", {});
    for (let step = 1; step <= 5; step++) await run.appendMetrics({ stage: "refl", step, loss: 1 / step });
    await run.appendMetrics({ stage: "control", step: 1, loss: 0 });
    await fs.appendFile(join(run.location, "metrics.jsonl"), '{"stage":"refl","st');
    await run.truncateMetrics("refl", 3);
    await run.appendMetrics({ stage: "refl", step: 4, loss: 9 });
    const lines = (await fs.readFile(join(run.location, "metrics.jsonl"), "utf8")).split("\n");
    expect(lines.pop()).toBe("");
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { stage: "refl", step: 1, loss: 1 },
      { stage: "refl", step: 2, loss: 1 / 2 },
      { stage: "refl", step: 3, loss: 1 / 3 },
      { stage: "refl", step: 4, loss: 9 },
    ]);
  });

  it("name a damaged line", async () => {
    const run = await createRunFolder(root, "demo", {});
    await run.truncateMetrics("refl", 1);
    await fs.writeFile(join(run.location, "metrics.jsonl"), '{"step":1}\nnonsense\n{"step":2}\n');
    await expect(run.truncateMetrics("refl", 1)).rejects.toThrow(/metrics\.jsonl:2/);
  });

  it("keep whole lines when the disk fills up", async () => {
    const run = await createRunFolder(root, "demo", {});
    await run.appendMetrics({ stage: "refl", step: 1 });
    fillDiskAfter(10);
    await expect(run.appendMetrics({ stage: "refl", step: 2 })).rejects.toMatchObject({
      reason: "ENOSPC",
      exitCode: 2,
    });
    expect(await fs.readFile(join(run.location, "metrics.jsonl"), "utf8")).toBe('{"stage":"refl","step":1}\n');
  });
});

describe("checkpoints", () => {
  it("stand complete with nested files, and the latest is found by number", async () => {
    const run = await createRunFolder(root, "demo", {});
    expect(await run.findLatestCheckpoint()).toBeUndefined();
    const first = await run.writeCheckpoint(999_999, writing({ "unet/config.json": "{}", "state.bin": "\x01\x02" }));
    const latest = await run.writeCheckpoint(1_000_000, writing({ "unet/config.json": "{ }" }));
    expect(await run.findLatestCheckpoint()).toEqual(latest);
    expect(first).toEqual({ step: 999_999, path: join(run.location, "checkpoints/step-999999") });
    const folder = await run.openCheckpoint(first);
    expect(await folder.list()).toEqual(["state.bin", "unet/config.json"]);
    expect(await folder.readJson("unet/config.json")).toEqual({});
    const state = await folder.open("state.bin");
    expect(await readAll(state)).toEqual(Uint8Array.of(1, 2));
    await state.close();
  });

  it("keep the last few and the best", async () => {
    const run = await createRunFolder(root, "demo", {}, { keep: 2 });
    for (let step = 1; step <= 6; step++) await run.writeCheckpoint(step, writing({ a: "x" }), { best: step === 2 });
    expect(await fs.readdir(join(run.location, "checkpoints"))).toEqual([
      "best.json",
      "step-000002",
      "step-000005",
      "step-000006",
    ]);
    expect((await run.findBestCheckpoint())?.step).toBe(2);
    await run.writeCheckpoint(7, writing({ a: "x" }), { best: true });
    expect((await run.findBestCheckpoint())?.step).toBe(7);
    expect(await fs.readdir(join(run.location, "checkpoints"))).not.toContain("step-000002");
  });

  it("are not there at all when the disk fills up in the middle, and the earlier one stays", async () => {
    const run = await createRunFolder(root, "demo", {});
    await run.writeCheckpoint(1, writing({ a: "first" }));
    const files = writing({ a: "x".repeat(50), "deep/b": "y".repeat(50) });
    for (const budget of [0, 30, 70, 99]) {
      fillDiskAfter(budget);
      const error = await run.writeCheckpoint(2, files).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(StorageError);
      expect((error as StorageError).message).toMatch(/step-000002: the disk is full/);
      restoreDisk();
      expect(await listFiles(run.location)).toEqual(["checkpoints/step-000001/a", "config.json"]);
      expect(await fs.readdir(join(run.location, "checkpoints"))).toEqual(["step-000001"]);
    }
    expect((await run.findLatestCheckpoint())?.step).toBe(1);
  });

  it("are not there at all when a file's pieces end in an error, which is told as it is, and the earlier one stays", async () => {
    const run = await createRunFolder(root, "demo", {});
    await run.writeCheckpoint(1, writing({ a: "first" }));
    const lost = new ReflError("device-lost", "the device is lost");
    const broken = async function* () {
      yield new Uint8Array(10);
      throw lost;
    };
    for (const step of [1, 2]) {
      const write: FolderWriter = async (folder) => {
        await folder.write("a", Uint8Array.of(1));
        await folder.write("b", broken());
      };
      await expect(run.writeCheckpoint(step, write)).rejects.toBe(lost);
      expect(await fs.readdir(join(run.location, "checkpoints"))).toEqual(["step-000001"]);
      expect(await fs.readFile(join(run.location, "checkpoints", "step-000001", "a"), "utf8")).toBe("first");
    }
  });

  it("refuse file names that lead out of the folder", async () => {
    const run = await createRunFolder(root, "demo", {});
    for (const name of ["../x", "/x", "a/../../x", "", "a\\b"])
      await expect(run.writeCheckpoint(1, writing({ [name]: "x" }))).rejects.toThrow(CheckpointError);
    expect(await run.findLatestCheckpoint()).toBeUndefined();
  });
});

it("keeps grids as PNG under stage and step", async () => {
  const run = await createRunFolder(root, "demo", {});
  const grid = layoutGrid([{ width: 1, height: 1, rgb: Uint8Array.of(9, 8, 7) }], { captions: ["a dot"] });
  const path = await run.writeSamples("refl", 100, grid);
  expect(path).toBe(join(run.location, "samples", "refl-step-000100.png"));
  const png = new Uint8Array(await fs.readFile(path));
  expect(decodePng(png).rgb).toEqual(grid.rgb);
  expect(readPngText(png).get("captions")).toBe("a dot");
});

it("opens a run again, clears what a crash left, and refuses other folders", async () => {
  const run = await createRunFolder(root, "demo", { steps: 3 });
  await run.writeCheckpoint(1, writing({ a: "x" }));
  await fs.mkdir(join(run.location, "checkpoints", ".step-000002.a-b.tmp"));
  await fs.writeFile(join(run.location, ".summary.json.a-b.tmp"), "{");
  const again = await openRunFolder(run.location);
  expect(await again.readConfig()).toEqual({ steps: 3 });
  expect(await fs.readdir(join(run.location, "checkpoints"))).toEqual(["step-000001"]);
  expect((await fs.readdir(run.location)).sort()).toEqual(["checkpoints", "config.json"]);
  await expect(openRunFolder(root)).rejects.toThrow(/not a run folder/);
  await fs.writeFile(join(run.location, "config.json"), "{");
  await expect(again.readConfig()).rejects.toThrow(DataError);
});

it("finds the model of a run's folder: the best checkpoint, else the latest", async () => {
  const run = await createRunFolder(root, "demo", {});
  await expect(modelFolderAt(run.location)).rejects.toThrow(/expected a model folder/);
  await expect(modelFolderAt(join(root, "none"))).rejects.toThrow(/no such folder/);
  await run.writeCheckpoint(1, writing({ "model_index.json": "{}" }));
  const second = await run.writeCheckpoint(2, writing({ "model.safetensors": "" }));
  expect(await modelFolderAt(run.location)).toBe(second.path);
  await run.writeCheckpoint(1, writing({ "model_index.json": "{}" }), { best: true });
  expect(await modelFolderAt(run.location)).toMatch(/step-000001$/);
  expect(await modelFolderAt(second.path)).toBe(second.path);
});

it("is discarded when nothing but its config came into it", async () => {
  const run = await createRunFolder(root, "demo", {});
  await run.appendMetrics({ stage: "refl", step: 1 });
  await run.discardIfEmpty();
  expect(await fs.readdir(root)).toEqual(["demo-1"]);
  await (await createRunFolder(root, "demo", {})).discardIfEmpty();
  expect(await fs.readdir(root)).toEqual(["demo-1"]);
});
