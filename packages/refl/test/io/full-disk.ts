/** A file system that fails: full after so many bytes, or refusing one kind of call. */
import { promises as fs } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { vi } from "vitest";

const failure = (code: string, syscall: string): Error =>
  Object.assign(new Error(`${code}: ${syscall}`), { code, syscall });

/** Lets writes through until `budget` bytes are written, then answers as a full disk does: a part is written, then ENOSPC. */
export function fillDiskAfter(budget: number): void {
  const open = fs.open.bind(fs);
  let left = budget;
  vi.spyOn(fs, "open").mockImplementation(async (...args) => {
    const handle = await open(...args);
    const write = async (data: unknown) => {
      const bytes = Buffer.from(data as string);
      const part = bytes.subarray(0, left);
      await handle.write(part);
      left -= part.length;
      if (part.length < bytes.length) throw failure("ENOSPC", "write");
    };
    handle.writeFile = write;
    handle.appendFile = write;
    return handle;
  });
  syncBuiltinESMExports();
}

/** Refuses flushes of files to the disk, as network file systems do that find out late that they are full. */
export function failSync(): void {
  const open = fs.open.bind(fs);
  vi.spyOn(fs, "open").mockImplementation(async (path, flags, mode) => {
    const handle = await open(path, flags, mode);
    if (flags !== "r")
      handle.sync = async () => {
        throw failure("EDQUOT", "fsync");
      };
    return handle;
  });
  syncBuiltinESMExports();
}

/** Refuses renames when `refuses` says so; it is asked once for each. */
export function failRename(refuses: () => boolean): void {
  const rename = fs.rename.bind(fs);
  vi.spyOn(fs, "rename").mockImplementation(async (from, to) => {
    if (refuses()) throw failure("EIO", "rename");
    await rename(from, to);
  });
  syncBuiltinESMExports();
}

export function restoreDisk(): void {
  vi.restoreAllMocks();
  syncBuiltinESMExports();
}
