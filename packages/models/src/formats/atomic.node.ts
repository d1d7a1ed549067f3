/** Files on disk that appear whole or not at all. */
import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { ReflError } from "@refl/tensor";
import type { FileData } from "./folder.ts";
import { StorageError } from "./storage-error.ts";

const HINTS: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full; free some space and try again",
  EDQUOT: "the disk quota is used up; free some space and try again",
  EFBIG: "the file would be larger than the system allows",
  EROFS: "the file system is read-only",
  EACCES: "permission denied",
  EPERM: "operation not permitted",
  ENOENT: "the folder does not exist",
  ENOTDIR: "a part of the path is a file, not a folder",
  EISDIR: "is a folder, not a file",
};

function errorCode(cause: unknown): string {
  return cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : "";
}

/** The system's error as the `StorageError` of a file that could not be written. */
export function writeError(path: string, cause: unknown): StorageError {
  if (cause instanceof StorageError) return cause;
  const reason = errorCode(cause);
  const why = HINTS[reason] ?? (cause instanceof Error ? cause.message : String(cause));
  return new StorageError(path, reason, `cannot be written: ${why}`, { cause });
}

async function writeDurably(path: string, data: FileData | string): Promise<void> {
  const handle = await open(path, "wx");
  try {
    if (typeof data === "string" || data instanceof Uint8Array) await handle.writeFile(data);
    else for await (const piece of data) await handle.writeFile(piece);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes a rename in a folder survive a power cut. Windows and some network file systems cannot open or sync a folder: they keep the order themselves. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, "r").catch(() => undefined);
  try {
    await handle?.sync();
  } catch (cause) {
    if (!["EINVAL", "EPERM", "EISDIR", "ENOTSUP"].includes(errorCode(cause))) throw cause;
  } finally {
    await handle?.close();
  }
}

/**
 * Writes a file so that `path` holds either all of `data` or what it held before, also across a crash: a temporary file in the same
 * folder is written and flushed, renamed over `path`, and the folder is flushed.
 * @throws StorageError when the file cannot be written, and whatever the pieces of `data` end in; the temporary file is removed.
 */
export async function writeFileAtomic(path: string, data: FileData | string): Promise<void> {
  const folder = dirname(path);
  const temporary = join(folder, `.${basename(path)}.${randomUUID()}.tmp`);
  try {
    await writeDurably(temporary, data);
    await rename(temporary, path);
    await syncFolder(folder);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {});
    // What is no system's error came with the pieces.
    throw errorCode(cause) === "" || cause instanceof ReflError ? cause : writeError(path, cause);
  }
}
