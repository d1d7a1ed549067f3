/** Files and folders on Node that stand complete or not at all: written under a temporary name, flushed to the disk, then renamed. */
import { randomUUID } from "node:crypto";
import { promises as fs } from "node:fs";
import { basename, dirname, join, relative, sep } from "node:path";
import { StorageError, type WritableModelFolder } from "@refl/models";
import { nodeFolder, writeFileAtomic } from "@refl/models/node";

export { writeFileAtomic };

const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full; free some space and try again",
  EDQUOT: "the disk quota is used up; free some space and try again",
  EFBIG: "the file would be larger than the file system allows",
  EROFS: "the file system is read-only",
  EACCES: "permission denied",
  EPERM: "operation not permitted",
  ENOENT: "no such file or folder",
  ENOTDIR: "a part of the path is a file, not a folder",
  EISDIR: "it is a folder, not a file",
  EEXIST: "it exists already",
  EMFILE: "too many open files",
  EIO: "input/output error of the device",
};

/** The system's error as a `StorageError` that names the path; errors that are no system errors are given back as they are. */
export function storageError(path: string, cause: unknown): unknown {
  if (!(cause instanceof Error) || cause instanceof StorageError) return cause;
  const reason = (cause as NodeJS.ErrnoException).code;
  if (typeof reason !== "string" || !(cause as NodeJS.ErrnoException).syscall) return cause;
  return new StorageError(path, reason, REASONS[reason] ?? cause.message, { cause });
}

/** Flushes a folder's entries, so that a rename within it survives a power cut. Systems that cannot open folders are passed over. */
async function syncFolder(path: string): Promise<void> {
  let handle: fs.FileHandle;
  try {
    handle = await fs.open(path, "r");
  } catch {
    return;
  }
  try {
    await handle.sync();
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code !== "EINVAL" && code !== "EPERM" && code !== "EISDIR") throw cause;
  } finally {
    await handle.close();
  }
}

/** Files and folders under such names are the leavings of a crash. */
const TEMPORARY = /^\..+\.tmp$/;

function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`);
}

/**
 * Makes a folder of the files that `write` puts into the one it is given, which is either whole or not there. A folder of the same name is replaced.
 * Throws `StorageError`, and what `write` rejects with.
 */
export async function writeFolderAtomic(
  path: string,
  write: (folder: WritableModelFolder) => Promise<void>,
): Promise<void> {
  const temporary = temporaryName(path);
  try {
    await fs.mkdir(temporary, { recursive: true });
    await write({ ...nodeFolder(temporary), name: path });
    const below = await fs.readdir(temporary, { recursive: true, withFileTypes: true });
    const folders = below.filter((entry) => entry.isDirectory()).map(({ parentPath, name }) => join(parentPath, name));
    for (const folder of [temporary, ...folders]) await syncFolder(folder);
    await replaceFolder(temporary, path);
    await syncFolder(dirname(path));
  } catch (cause) {
    await fs.rm(temporary, { recursive: true, force: true }).catch(() => {});
    // The temporary name means nothing to people.
    throw storageError(path, cause instanceof StorageError ? (cause.cause ?? cause) : cause);
  }
}

/** Renames a folder; one that has the new name already goes when that has worked, and is put back when it has not. */
async function replaceFolder(from: string, to: string): Promise<void> {
  const aside = temporaryName(to);
  const replaced = await fs.rename(to, aside).then(
    () => true,
    (cause: NodeJS.ErrnoException) => {
      if (cause.code === "ENOENT") return false;
      throw cause;
    },
  );
  try {
    await fs.rename(from, to);
  } catch (cause) {
    if (replaced) await fs.rename(aside, to);
    throw cause;
  }
  if (replaced) await fs.rm(aside, { recursive: true, force: true });
}

/** Removes a folder in one visible step: renamed first, so that a crash leaves no half of it under its own name. */
export async function removeFolder(path: string): Promise<void> {
  const aside = temporaryName(path);
  try {
    await fs.rename(path, aside);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return;
    throw storageError(path, cause);
  }
  await fs.rm(aside, { recursive: true, force: true });
}

/** Removes what a crash left under temporary names in a folder. */
export async function removeTemporaries(folder: string): Promise<void> {
  for (const name of await listFolder(folder))
    if (TEMPORARY.test(name)) await fs.rm(join(folder, name), { recursive: true, force: true });
}

/** Makes a folder and those above it, where they are not there yet. Throws `StorageError`. */
export async function makeFolder(path: string): Promise<void> {
  try {
    await fs.mkdir(path, { recursive: true });
  } catch (cause) {
    throw storageError(path, cause);
  }
}

/** Names in a folder, sorted; empty when there is no such folder. */
export async function listFolder(path: string): Promise<string[]> {
  try {
    return (await fs.readdir(path)).sort();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw storageError(path, cause);
  }
}

/** The bytes of a file. Throws `StorageError`. */
export async function readBytes(path: string): Promise<Uint8Array> {
  try {
    const bytes = await fs.readFile(path);
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  } catch (cause) {
    throw storageError(path, cause);
  }
}

/** The text of a UTF-8 file. Throws `StorageError`. */
export async function readText(path: string): Promise<string> {
  return new TextDecoder().decode(await readBytes(path));
}

/** Whether a file or folder of this name exists. */
export async function exists(path: string): Promise<boolean> {
  try {
    await fs.access(path);
    return true;
  } catch {
    return false;
  }
}

/** All files below a folder as relative paths with `/`, sorted; hidden ones are passed over. */
export async function listFiles(folder: string): Promise<string[]> {
  try {
    const entries = await fs.readdir(folder, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join("/"))
      .filter((path) => !path.split("/").some((part) => part.startsWith(".")))
      .sort();
  } catch (cause) {
    throw storageError(folder, cause);
  }
}
