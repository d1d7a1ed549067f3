/** Fetching files of a model from a hub into its cache or a folder, a few at a time, and telling how far it is. */
import { stat, statfs } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { nearestName } from "../formats/names.ts";
import { StorageError } from "../formats/storage-error.ts";
import {
  type CachedRepository,
  cachedRepository,
  findSnapshot,
  linkBlob,
  listSnapshot,
  writeRef,
} from "./cache.node.ts";
import { fetchFile, hasSize } from "./fetch-file.node.ts";
import { isPattern, matcher } from "./glob.ts";
import { HubClient, type RemoteFile } from "./hub-client.node.ts";
import { HubError } from "./hub-error.ts";
import { localState, localStem, NOTES, writeNote } from "./local-dir.node.ts";
import { isCommit, type ModelId, modelIdText, unsafePath } from "./model-id.ts";
import type { RetryOptions } from "./retry.ts";
import type { HubSettings } from "./settings.node.ts";

/** What a pull tells while it runs. */
export type PullEvent =
  /** What will be fetched: `bytes` in all, of `files` files. */
  | { readonly type: "plan"; readonly commit: string; readonly files: number; readonly bytes: number }
  /** How far it is: bytes and files that stand on the disk, of those in the plan. */
  | { readonly type: "progress"; readonly bytes: number; readonly files: number }
  /** Something that the user should know: a new try after a failure, a wait for another process. */
  | { readonly type: "notice"; readonly message: string };

/** What to pull, and how. */
export interface PullOptions {
  readonly settings: HubSettings;
  /** Names and patterns of files; all files where there are none. */
  readonly files?: readonly string[];
  /** Patterns of files to leave out. */
  readonly exclude?: readonly string[];
  /** A folder for the files, instead of the cache. */
  readonly localDir?: string | undefined;
  /** Fetch also what is there. */
  readonly force?: boolean;
  /** Only find out what there is to do. */
  readonly dryRun?: boolean;
  /** Files at once. Default 4. */
  readonly concurrency?: number;
  /** Failures in a row that are borne for each file. Default 5. */
  readonly retries?: number;
  /** Seconds before the first new try. Default 0.5. */
  readonly retryDelay?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: PullEvent) => void) | undefined;
}

/** A file of a pull. `etag` is the hash of its content, absent where only the cache was asked. */
export interface PulledFile {
  readonly file: string;
  readonly path: string;
  readonly size: number;
  readonly etag?: string;
  /** `fetched` now; `present` before; `wanted` in a dry run. */
  readonly state: "fetched" | "present" | "wanted";
}

/** What a pull leaves. `folder` holds the files under their own names. */
export interface PulledModel {
  readonly id: ModelId;
  readonly commit: string;
  readonly folder: string;
  readonly files: readonly PulledFile[];
}

/** Where a file goes. */
interface Place {
  readonly path: string;
  readonly destination: string;
  readonly stem: string;
  isPresent(): Promise<boolean>;
  /** Makes the file, which stands at `destination`, known under its name. */
  publish(): Promise<void>;
}

/** Runs `work` on all items, a few at once; the first failure stops the others before it is thrown. */
async function forEach<T>(
  items: readonly T[],
  concurrency: number,
  signal: AbortSignal | undefined,
  work: (item: T, index: number, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const failed = new AbortController();
  const either = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  let next = 0;
  let first: { readonly error: unknown } | undefined;
  const worker = async (): Promise<void> => {
    while (next < items.length && !either.aborted) {
      const index = next++;
      try {
        await work(items[index]!, index, either);
      } catch (error) {
        first ??= { error };
        failed.abort();
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, worker));
  signal?.throwIfAborted();
  if (first) throw first.error;
}

/** The names among `available` that the user asked for. @throws HubError (`not-found`) when a name or pattern has none. */
function chooseFiles(
  id: ModelId,
  available: readonly string[],
  files: readonly string[],
  exclude: readonly string[],
  where: string,
): string[] {
  for (const wanted of files) {
    if (available.includes(wanted) || available.some(matcher([wanted]))) continue;
    const near = nearestName(wanted, available);
    throw new HubError(
      "not-found",
      `${modelIdText(id)}: ${wanted}: ${where} has no such file${near ? `; did you mean ${JSON.stringify(near)}?` : ""}`,
    );
  }
  const patterns = matcher(files.filter(isPattern));
  const names = new Set(files);
  const isExcluded = matcher(exclude);
  const chosen = available.filter(
    (file) => (files.length === 0 || names.has(file) || patterns(file)) && !isExcluded(file),
  );
  if (chosen.length === 0)
    throw new HubError("not-found", `${modelIdText(id)}: ${where} has no file that is wanted and not excluded`);
  return chosen;
}

function checkNames(id: ModelId, files: readonly string[]): void {
  for (const file of files) {
    const why = isPattern(file) ? undefined : unsafePath(file);
    if (why) throw new HubError("setting", `${modelIdText(id)}: the file name ${JSON.stringify(file)} ${why}`);
  }
}

async function describeFiles(client: HubClient, id: ModelId, options: PullOptions): Promise<RemoteFile[]> {
  const { files = [], exclude = [], concurrency = 4, signal } = options;
  const described: RemoteFile[] = [];
  let commit = isCommit(id.revision) ? id.revision : undefined;
  let names: readonly string[];
  if (files.length === 0 || exclude.length > 0 || files.some(isPattern)) {
    const listing = await client.list(id);
    commit = listing.commit;
    names = chooseFiles(id, listing.files, files, exclude, "the model");
  } else {
    // Names alone need no listing, which simple mirrors do not have: the first file tells the commit of them all.
    names = [...new Set(files)];
    if (commit === undefined) {
      described.push(await client.describe(id, id.revision, names[0]!));
      commit = described[0]!.commit;
    }
  }
  const known = described.length;
  await forEach(names.slice(known), concurrency, signal, async (file, index) => {
    described[known + index] = await client.describe(id, commit, file);
  });
  return described;
}

function cachePlace(repository: CachedRepository, remote: RemoteFile, force: boolean): Place {
  const blob = repository.blob(remote.etag);
  const path = join(repository.snapshot(remote.commit), remote.file);
  return {
    path,
    destination: blob,
    stem: blob,
    // Where the system has no links, the hub's own client moves the file itself into the snapshot.
    isPresent: async () => !force && ((await hasSize(blob, remote.size)) || (await hasSize(path, remote.size))),
    async publish() {
      if (!(await hasSize(path, remote.size)) || force) await linkBlob(blob, path);
    },
  };
}

function localPlace(root: string, remote: RemoteFile, force: boolean, signal: AbortSignal | undefined): Place {
  const path = join(root, remote.file);
  if (`${remote.file.toLowerCase()}/`.startsWith(`${NOTES}/`))
    throw new HubError(
      "protocol",
      `the file name ${JSON.stringify(remote.file)} is refused: the hub's notes lie there`,
    );
  let noted = false;
  return {
    path,
    destination: path,
    stem: localStem(root, remote),
    async isPresent() {
      if (force) return false;
      const state = await localState(root, remote, signal);
      noted = state === "noted";
      return state !== "other";
    },
    async publish() {
      if (!noted) await writeNote(root, remote);
      noted = true;
    },
  };
}

/** Refuses a pull that the disk cannot hold before it begins. Bytes of unfinished files count as missing: they may be of no use. */
async function checkSpace(folder: string, bytes: number): Promise<void> {
  for (let path = folder; ; path = dirname(path)) {
    const found = await statfs(path).catch(() => undefined);
    if (found && found.bavail * found.bsize < bytes)
      throw new StorageError(folder, "ENOSPC", `needs ${bytes} bytes, the disk has ${found.bavail * found.bsize} free`);
    if (found || dirname(path) === path) return;
  }
}

async function pullOffline(id: ModelId, options: PullOptions): Promise<PulledModel> {
  const { settings, files = [], exclude = [], localDir } = options;
  if (localDir !== undefined)
    throw new HubError("offline", `${modelIdText(id)}: nothing can be fetched into ${localDir} offline`);
  const snapshot = await findSnapshot(settings.cacheDir, id);
  if (!snapshot)
    throw new HubError(
      "offline",
      `${modelIdText(id)}: not in the cache (${settings.cacheDir}), and offline nothing is fetched`,
    );
  const available = await listSnapshot(snapshot.folder);
  const chosen = chooseFiles(id, available, files, exclude, `offline, the cache (${snapshot.folder})`);
  const { folder, commit } = snapshot;
  const pulled: PulledFile[] = [];
  for (const file of chosen) {
    const path = join(folder, file);
    pulled.push({ file, path, size: (await stat(path)).size, state: "present" });
  }
  return { id, commit, folder, files: pulled };
}

/**
 * Pulls files of a model. A file gets its name once its size and hash are right, and the revision is noted in the cache once all files have
 * theirs: an end at any moment leaves nothing that could be taken for whole. What was fetched of unfinished files is kept for the next time.
 * @throws HubError, StorageError; the signal's reason once that is set.
 */
export async function pullModel(id: ModelId, options: PullOptions): Promise<PulledModel> {
  const { settings, localDir, force = false, dryRun = false, concurrency = 4, signal, onEvent } = options;
  checkNames(id, options.files ?? []);
  if (settings.offline) return pullOffline(id, options);
  const retry: RetryOptions = {
    retries: options.retries ?? 5,
    delay: options.retryDelay ?? 0.5,
    signal,
    onRetry: ({ message }, seconds) =>
      onEvent?.({ type: "notice", message: `${message}; trying again in ${seconds.toFixed(1)} s` }),
  };
  const client = new HubClient(settings, retry);
  const remotes = await describeFiles(client, id, options);
  const { commit } = remotes[0]!;
  const repository = cachedRepository(settings.cacheDir, id);
  const root = localDir === undefined ? undefined : resolve(localDir);
  const folder = root ?? repository.snapshot(commit);
  const jobs = remotes.map((remote) => ({
    remote,
    place: root === undefined ? cachePlace(repository, remote, force) : localPlace(root, remote, force, signal),
  }));
  const present = new Set<string>();
  for (const { remote, place } of jobs) if (await place.isPresent()) present.add(remote.file);
  const missing = jobs.filter(({ remote }) => !present.has(remote.file));
  // Files of the same content are one blob, fetched once.
  const targets = [...new Map(missing.map((job) => [job.place.destination, job])).values()];
  const bytes = targets.reduce((sum, { remote }) => sum + remote.size, 0);
  onEvent?.({ type: "plan", commit, files: targets.length, bytes });
  const result = (state: "fetched" | "wanted"): PulledModel => ({
    id,
    commit,
    folder,
    files: jobs.map(({ remote: { file, size, etag }, place: { path } }) => ({
      file,
      path,
      size,
      etag,
      state: present.has(file) ? "present" : state,
    })),
  });
  if (dryRun) return result("wanted");
  await checkSpace(root ?? repository.root, bytes);
  const received = targets.map(() => 0);
  let whole = 0;
  const tell = (): void =>
    onEvent?.({ type: "progress", bytes: received.reduce((sum, count) => sum + count, 0), files: whole });
  await forEach(targets, concurrency, signal, async ({ remote, place }, index, either) => {
    const listener = {
      onBytes(count: number) {
        received[index] = count;
        tell();
      },
      onWait: () =>
        onEvent?.({ type: "notice", message: `${remote.file}: another process is fetching it; waiting for that` }),
    };
    const where = { destination: place.destination, stem: place.stem, isDone: () => place.isPresent() };
    const fetched = await fetchFile(client, id, remote, where, { ...retry, signal: either }, listener);
    if (!fetched) present.add(remote.file);
    received[index] = remote.size;
    whole++;
    tell();
    await place.publish();
  });
  for (const { place } of jobs) await place.publish();
  if (root === undefined) await writeRef(repository, id.revision, commit);
  return result("fetched");
}
