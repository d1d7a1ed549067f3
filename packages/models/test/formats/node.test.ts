/** Files on disk: atomic writes, what a failed write leaves, and model folders. */
import { mkdir, mkdtemp, open, readdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  bytesSource,
  float32Entry,
  openSafetensors,
  StorageError,
  type TensorEntry,
  writeSafetensors,
} from "@refl/models";
import { nodeFolder, openFileSource, writeFileAtomic } from "@refl/models/node";
import { CheckpointError } from "@refl/tensor";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

let root = "";
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "refl-formats-"));
});
afterEach(async () => {
  vi.restoreAllMocks();
  await rm(root, { recursive: true, force: true });
});

async function fileHandlePrototype(): Promise<{
  writeFile: (data: unknown) => Promise<void>;
  sync: () => Promise<void>;
}> {
  const handle = await open(root, "r");
  await handle.close();
  return Object.getPrototypeOf(handle);
}

const systemError = (code: string) => Object.assign(new Error(code), { code });

describe("writeFileAtomic", () => {
  it("writes, replaces and leaves nothing else", async () => {
    const path = join(root, "a.bin");
    await writeFileAtomic(path, Uint8Array.of(1, 2));
    await writeFileAtomic(path, Uint8Array.of(3));
    expect([...(await readFile(path))]).toEqual([3]);
    expect(await readdir(root)).toEqual(["a.bin"]);
  });

  it.each(["writeFile", "sync"] as const)("keeps the old file when %s finds the disk full", async (method) => {
    const path = join(root, "a.bin");
    await writeFile(path, "old");
    vi.spyOn(await fileHandlePrototype(), method).mockRejectedValue(systemError("ENOSPC"));
    const failure = writeFileAtomic(path, new Uint8Array(10));
    await expect(failure).rejects.toBeInstanceOf(StorageError);
    await expect(failure).rejects.toMatchObject({ code: "storage", path, reason: "ENOSPC", exitCode: 2 });
    await expect(failure).rejects.toThrow(/the disk is full/);
    vi.restoreAllMocks();
    expect(await readFile(path, "utf8")).toBe("old");
    expect(await readdir(root)).toEqual(["a.bin"]);
  });

  it("writes pieces that share memory, and keeps the old file when they end in an error or the disk is full between two", async () => {
    const path = join(root, "a.bin");
    const piece = new Uint8Array(2);
    const pieces = async function* (end?: Error) {
      for (let i = 0; i < 3; i++) yield piece.fill(i);
      if (end) throw end;
    };
    await writeFileAtomic(path, pieces());
    expect([...(await readFile(path))]).toEqual([0, 0, 1, 1, 2, 2]);
    for (const end of [new CheckpointError("source", "is cut"), new TypeError("no float")])
      await expect(writeFileAtomic(path, pieces(end))).rejects.toBe(end);
    vi.spyOn(await fileHandlePrototype(), "writeFile")
      .mockResolvedValueOnce()
      .mockRejectedValue(systemError("ENOSPC"));
    await expect(writeFileAtomic(path, pieces())).rejects.toMatchObject({ code: "storage", path, reason: "ENOSPC" });
    vi.restoreAllMocks();
    expect([...(await readFile(path))]).toEqual([0, 0, 1, 1, 2, 2]);
    expect(await readdir(root)).toEqual(["a.bin"]);
  });

  it("refuses a folder's name and a missing folder", async () => {
    await mkdir(join(root, "folder", "full"), { recursive: true });
    await expect(writeFileAtomic(join(root, "folder"), "x")).rejects.toMatchObject({ code: "storage" });
    await expect(writeFileAtomic(join(root, "none", "x"), "x")).rejects.toMatchObject({ reason: "ENOENT" });
    expect(await readdir(root)).toEqual(["folder"]);
  });
});

describe("openFileSource", () => {
  it("reads tensors from disk, a replaced file included", async () => {
    const path = join(root, "model.safetensors");
    await writeFileAtomic(path, writeSafetensors([float32Entry("w", [2], Float32Array.of(1, 2))]));
    const source = await openFileSource(path);
    const file = await openSafetensors(source);
    await writeFileAtomic(path, writeSafetensors([]));
    expect((await file.read("w")).bytes).toEqual(new Uint8Array(Float32Array.of(1, 2).buffer));
    await source.close();
    await source.close();
    await expect(file.read("w")).rejects.toBeInstanceOf(CheckpointError);
  });

  it("names a missing file, a folder and a file that shrank", async () => {
    await expect(openFileSource(join(root, "none"))).rejects.toBeInstanceOf(CheckpointError);
    await expect(openFileSource(root)).rejects.toThrow(/is not a regular file/);
    const path = join(root, "f");
    await writeFile(path, new Uint8Array(100));
    const source = await openFileSource(path);
    await truncate(path, 10);
    await expect(source.read(0, 100)).rejects.toThrow(/ends at byte 10, it had 100/);
    await source.close();
  });
});

describe("nodeFolder", () => {
  it("lists, reads and writes below its root", async () => {
    const folder = nodeFolder(join(root, "new", "model"));
    await folder.writeJson("unet/config.json", { in_channels: 3 });
    await folder.write("unet/diffusion_pytorch_model.safetensors", writeSafetensors([]));
    await symlink(join(root, "new", "model", "unet", "config.json"), join(root, "new", "model", "link.json"));
    expect(await folder.list()).toEqual(["link.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"]);
    expect(await folder.readJson("link.json")).toEqual({ in_channels: 3 });
    expect(await folder.exists("unet")).toBe(false);
    expect(await folder.exists("unet/config.json")).toBe(true);
  });

  it("leaves its root never", async () => {
    const folder = nodeFolder(root);
    await expect(folder.open("../x")).rejects.toBeInstanceOf(CheckpointError);
    await expect(folder.write("/tmp/x", new Uint8Array(1))).rejects.toBeInstanceOf(CheckpointError);
    await expect(nodeFolder(join(root, "none")).list()).rejects.toBeInstanceOf(CheckpointError);
  });

  it("says what cannot be written", async () => {
    await writeFile(join(root, "file"), "");
    await expect(nodeFolder(root).write("file/config.json", new Uint8Array(1))).rejects.toBeInstanceOf(StorageError);
  });
});

describe("files written in Python", () => {
  it("are read tensor by tensor", async () => {
    const golden = fileURLToPath(new URL("../golden", import.meta.url));
    const names = (await readdir(golden)).filter((name) => name.endsWith(".safetensors"));
    expect(names.length).toBeGreaterThan(0);
    for (const name of names) {
      const source = await openFileSource(join(golden, name), name);
      const file = await openSafetensors(source);
      const entries: TensorEntry[] = [];
      for await (const entry of file.entries()) entries.push(entry);
      const back = await openSafetensors(bytesSource(writeSafetensors(entries), name));
      for (const entry of entries) {
        const { bytes, ...rest } = await back.read(entry.name);
        expect(entry).toMatchObject(rest);
        expect(Buffer.compare(bytes, entry.bytes)).toBe(0);
      }
      await source.close();
    }
  });
});
