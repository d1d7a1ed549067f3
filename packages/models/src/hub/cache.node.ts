/** The hub's cache on disk, as its own client lays it out: `models--owner--name/{blobs,refs,snapshots}`, snapshots being links to blobs. */
import { randomBytes } from "node:crypto";
import { copyFile, mkdir, readdir, readFile, realpath, rename, rm, stat, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { CheckpointError } from "@refl/tensor";
import { syncFolder, writeError, writeFileAtomic } from "../formats/atomic.node.ts";
import { isCommit, type ModelId, type ModelReference, modelIdText, parseModelReference } from "./model-id.ts";
import { hubCacheDir } from "./settings.node.ts";

/** Where a model's parts lie in a cache. */
export interface CachedRepository {
  readonly root: string;
  blob(etag: string): string;
  snapshot(commit: string): string;
  ref(revision: string): string;
}

/** The places of a model in a cache; nothing need be there. */
export function cachedRepository(cacheDir: string, { owner, name }: ModelId): CachedRepository {
  const root = join(cacheDir, `models--${owner}--${name}`);
  return {
    root,
    blob: (etag) => join(root, "blobs", etag),
    snapshot: (commit) => join(root, "snapshots", commit),
    ref: (revision) => join(root, "refs", ...revision.split("/")),
  };
}

/** Files in a snapshot, with the commit that it is of. */
export interface CachedSnapshot {
  readonly commit: string;
  readonly folder: string;
}

const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );

/** The snapshot that a revision means as far as the cache knows; `undefined` when there is none. */
export async function findSnapshot(cacheDir: string, id: ModelId): Promise<CachedSnapshot | undefined> {
  const repository = cachedRepository(cacheDir, id);
  const { revision } = id;
  const commit = isCommit(revision)
    ? revision
    : (await readFile(repository.ref(revision), "utf8").catch(() => "")).trim();
  if (!isCommit(commit)) return undefined;
  const folder = repository.snapshot(commit);
  return (await isFolder(folder)) ? { commit, folder } : undefined;
}

/** The files of a snapshot by relative path with `/`, sorted; links whose blob is gone are left out. */
export async function listSnapshot(folder: string, below = ""): Promise<string[]> {
  const entries = await readdir(join(folder, below), { withFileTypes: true }).catch(() => []);
  const nested = await Promise.all(
    entries.map(async (entry) => {
      const path = below ? `${below}/${entry.name}` : entry.name;
      if (entry.isDirectory()) return listSnapshot(folder, path);
      const found = await stat(join(folder, path)).catch(() => undefined);
      return found?.isFile() ? [path] : [];
    }),
  );
  return nested.flat().sort();
}

/**
 * Gives a blob its name in a snapshot: a relative link, or a copy where the system has no links. Replaces what has the name.
 * @throws StorageError
 */
export async function linkBlob(blob: string, pointer: string): Promise<void> {
  const temporary = `${pointer}.${randomBytes(4).toString("hex")}.tmp`;
  try {
    const folder = dirname(pointer);
    await mkdir(folder, { recursive: true });
    // Through folders that are links themselves, a relative link leads where the real folder says.
    const target = relative(
      await realpath(folder),
      join(await realpath(dirname(blob)), blob.slice(dirname(blob).length + 1)),
    );
    await symlink(target, temporary).catch((cause: NodeJS.ErrnoException) => {
      if (!["EPERM", "EACCES", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "UNKNOWN"].includes(cause.code ?? "")) throw cause;
      return copyFile(blob, temporary);
    });
    await rename(temporary, pointer);
    await syncFolder(folder);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {});
    throw writeError(pointer, cause);
  }
}

/** Notes which commit a branch or tag means; a commit needs no note. @throws StorageError */
export async function writeRef(repository: CachedRepository, revision: string, commit: string): Promise<void> {
  if (isCommit(revision)) return;
  const path = repository.ref(revision);
  if ((await readFile(path, "utf8").catch(() => "")) === commit) return;
  try {
    await mkdir(dirname(path), { recursive: true });
  } catch (cause) {
    throw writeError(path, cause);
  }
  await writeFileAtomic(path, commit);
}

async function inCache({ id, file }: ModelReference, cacheDir: string): Promise<string> {
  const found = await findSnapshot(cacheDir, id);
  const name = modelIdText(id);
  const pull = `refl pull ${name}${file === undefined ? "" : ` ${file}`}`;
  if (!found)
    throw new CheckpointError(
      name,
      `no such file or folder, and no model of this name in the hub's cache (${cacheDir}): \`${pull}\` fetches it`,
    );
  if (file === undefined) return found.folder;
  const path = join(found.folder, file);
  if (await stat(path).catch(() => undefined)) return path;
  throw new CheckpointError(`${name}:${file}`, `not in the hub's cache (${found.folder}): \`${pull}\` fetches it`);
}

/**
 * The path on disk that a user's words for a model mean: a path as it is, where something lies there; else `owner/name[@revision]`, or
 * `owner/name[@revision]:file` for one file of it, as the snapshot in the hub's cache. Words that are neither come back as they are, for
 * the reader to refuse. Nothing is ever fetched.
 * @throws CheckpointError when they name a model that is not in the cache, with the command that fetches it.
 */
export async function localModelPath(words: string, cacheDir: string = hubCacheDir()): Promise<string> {
  const there = await stat(words).then(
    () => true,
    () => false,
  );
  const reference = there ? undefined : parseModelReference(words);
  return reference ? inCache(reference, cacheDir) : words;
}
