/** Every writer on a file system that fails at any moment: what stood before stands unchanged, and nothing half-written is left. */
import { promises as fs } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StorageError } from "@refl/models";
import { nodeFolder } from "@refl/models/node";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { writeFileAtomic, writeFolderAtomic } from "../../src/io/files.node.ts";
import { layoutGrid } from "../../src/io/grid.ts";
import { RunFolder } from "../../src/run/folder.node.ts";
import { writing } from "../run/writing.ts";
import { failRename, failSync, fillDiskAfter, restoreDisk } from "./full-disk.ts";

let root: string;
beforeEach(async () => {
  root = await fs.mkdtemp(join(tmpdir(), "refl-disk-"));
});
afterEach(async () => {
  restoreDisk();
  await fs.rm(root, { recursive: true });
});

/** All files below the root with their content, hidden ones too. */
async function content(): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const entry of await fs.readdir(root, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) {
      const path = join(entry.parentPath, entry.name);
      files[path.slice(root.length + 1)] = await fs.readFile(path, "latin1");
    }
  return files;
}

const grid = (grey: number) =>
  layoutGrid([{ width: 1, height: 1, rgb: Uint8Array.of(grey, grey, grey) }], { captions: [`grey ${grey}`] });

function failFirstRename(): void {
  let renames = 0;
  failRename(() => ++renames === 1);
}

/** Writers by name; each writes its k-th version. */
const WRITERS: Readonly<Record<string, (k: number) => Promise<unknown>>> = {
  writeFileAtomic: (k) => writeFileAtomic(join(root, "file"), `version ${k}`),
  writeFolderAtomic: (k) => writeFolderAtomic(join(root, "folder"), writing({ a: `version ${k}`, "b/c": `and ${k}` })),
  "nodeFolder.write": (k) => nodeFolder(join(root, "model")).write("unet/model.safetensors", Uint8Array.of(1, 2, k)),
  "nodeFolder.writeJson": (k) => nodeFolder(join(root, "model")).writeJson("config.json", { version: k }),
  "RunFolder.writeConfig": (k) => new RunFolder(root).writeConfig({ k }),
  "RunFolder.appendMetrics": (k) => new RunFolder(root).appendMetrics({ stage: "refl", step: k }),
  "RunFolder.writeSamples": (k) => new RunFolder(root).writeSamples("refl", 1, grid(k)),
  "RunFolder.writeCheckpoint": (k) => new RunFolder(root).writeCheckpoint(1, writing({ state: `version ${k}` })),
  "RunFolder.writeFile": (k) => new RunFolder(root).writeFile("deep/summary.json", `version ${k}`),
  "RunFolder.writeFolder": (k) =>
    new RunFolder(root).writeFolder("control", writing({ a: `version ${k}`, "b/c": `and ${k}` })),
};

describe.each(Object.entries(WRITERS))("%s", (_, write) => {
  it("leaves what was there when the disk fills up after any number of bytes, a flush fails, or a rename does", async () => {
    await write(1);
    const before = await content();
    // A metrics line is flushed with the next checkpoint, and renamed never.
    const appends = Object.keys(before).join() === "metrics.jsonl";
    for (let budget = 0; ; budget++) {
      fillDiskAfter(budget);
      const error = await write(2).catch((cause: unknown) => cause);
      restoreDisk();
      if (!(error instanceof Error)) break;
      expect(error).toBeInstanceOf(StorageError);
      expect(error).toMatchObject({ reason: "ENOSPC", exitCode: 2 });
      expect(error.message).toContain("the disk is full");
      expect(await content()).toEqual(before);
    }
    const after = await content();
    expect(after).not.toEqual(before);
    expect(Object.keys(after)).toEqual(Object.keys(before));
    if (appends) return;
    for (const fail of [failSync, failFirstRename]) {
      fail();
      await expect(write(3)).rejects.toThrow(StorageError);
      restoreDisk();
      expect(await content()).toEqual(after);
    }
  });
});

it("puts a folder back that it could not replace", async () => {
  const path = join(root, "folder");
  await writeFolderAtomic(path, writing({ a: "old" }));
  let renames = 0;
  // The first rename completes the file, the second takes the old folder aside, the third would put the new one in its place.
  failRename(() => ++renames === 3);
  await expect(writeFolderAtomic(path, writing({ a: "new" }))).rejects.toThrow(StorageError);
  restoreDisk();
  expect(await content()).toEqual({ "folder/a": "old" });
});
