/** The file that a download grows in: of one process alone, left behind for the next one to go on with, renamed when it is whole. */
import { createHash, randomBytes } from "node:crypto";
import { type FileHandle, mkdir, open, readdir, readlink, rename, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { syncFolder, writeError } from "../formats/atomic.node.ts";
import { pause } from "./retry.ts";

/** Milliseconds between the signs of life that a partial file gives through its time of change. */
const HEARTBEAT = 20_000;

/** Milliseconds after which a partial file without a sign of life counts as given up. */
const SILENCE = 180_000;

/** Seconds between looks at a file that another process is fetching. */
const LOOK = 0.25;

/** A download's file, open for writing, with what an earlier one left in it. */
export interface PartialFile {
  readonly path: string;
  readonly handle: FileHandle;
  /** Bytes that were there already. */
  readonly size: number;
  /** Flushes the file and gives it its final name, over what has it. */
  finish(destination: string): Promise<void>;
  /** Closes the file and leaves it for the next process; an empty one is removed. */
  release(): Promise<void>;
}

/** Partial files that this process has open: one with our number that is not among them is of an earlier process. */
const ownFiles = new Set<string>();

let ownHost: Promise<string> | undefined;

/** A short name for the space in which process numbers mean something: the host, and on Linux the container's own numbering. */
function hostTag(): Promise<string> {
  ownHost ??= (async () => {
    const numbering = await readlink("/proc/self/ns/pid").catch(() => "");
    return createHash("sha256").update(`${hostname()} ${numbering}`).digest("hex").slice(0, 8);
  })();
  return ownHost;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === "EPERM";
  }
}

interface Found {
  readonly path: string;
  /** `free`: nobody writes in it. `taken`: somebody does. `lost`: somebody on another host did, and may have it open still. */
  readonly state: "free" | "taken" | "lost";
}

/** The partial files that there are of `stem`. */
async function findPartials(stem: string): Promise<Found[]> {
  const folder = dirname(stem);
  const prefix = `${basename(stem)}.refl`;
  const names = await readdir(folder).catch(() => [] as string[]);
  const found: Found[] = [];
  for (const name of names) {
    if (!name.startsWith(prefix) || !name.endsWith(".incomplete")) continue;
    const path = join(folder, name);
    if (name === `${prefix}.incomplete`) found.push({ path, state: "free" });
    const owner = /^-([0-9a-f]{8})-(\d+)-[0-9a-f]+\.incomplete$/.exec(name.slice(prefix.length));
    if (!owner) continue;
    const [, host, pid] = owner;
    const status = await stat(path).catch(() => undefined);
    if (!status) continue;
    const silent = Date.now() - status.mtimeMs > SILENCE;
    const here = host === (await hostTag());
    const running = Number(pid) === process.pid ? ownFiles.has(path) : isRunning(Number(pid));
    if (here && !running) found.push({ path, state: "free" });
    else found.push({ path, state: silent ? "lost" : "taken" });
  }
  return found;
}

/** Renames the first free file to `own`; whoever renames it first has it. */
async function adopt(files: readonly Found[], own: string): Promise<boolean> {
  for (const { path, state } of files) {
    if (state !== "free") continue;
    try {
      await rename(path, own);
      return true;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw cause;
    }
  }
  return false;
}

/** What claiming a partial file may tell. */
export interface ClaimOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called once when another process is fetching the same file and is waited for. */
  readonly onWait?: (() => void) | undefined;
}

/**
 * A partial file of our own for `stem`: `<stem>.refl-<host>-<process>-<random>.incomplete`, taken over from a process that left one. While another
 * process fetches the same, waits for it; `isDone` says whether that made the file, and then there is nothing to claim (`undefined`).
 *
 * No two processes ever write in one file: only what nobody has open is taken over, in one rename, and what a process on another host may
 * still have open is removed. So waiting spares a second download and is not needed for safety.
 * @throws StorageError
 */
export async function claimPartial(
  stem: string,
  isDone: () => Promise<boolean>,
  { signal, onWait }: ClaimOptions = {},
): Promise<PartialFile | undefined> {
  const tail = `${await hostTag()}-${process.pid}-${randomBytes(6).toString("hex")}`;
  const path = `${stem}.refl-${tail}.incomplete`;
  try {
    await mkdir(dirname(stem), { recursive: true });
    for (let waited = false; ; waited = true) {
      if (await isDone()) return undefined;
      const found = await findPartials(stem);
      for (const lost of found.filter(({ state }) => state === "lost")) await rm(lost.path, { force: true });
      if (!found.some(({ state }) => state === "taken")) {
        const adopted = await adopt(found, path);
        return await openPartial(stem, path, adopted);
      }
      if (!waited) onWait?.();
      await pause(LOOK, signal);
    }
  } catch (cause) {
    if (signal?.aborted) throw signal.reason;
    throw writeError(stem, cause);
  }
}

async function openPartial(stem: string, path: string, adopted: boolean): Promise<PartialFile> {
  const handle = await open(path, adopted ? "r+" : "wx+");
  ownFiles.add(path);
  const { size } = await handle.stat();
  const beat = (): void => void utimes(path, new Date(), new Date()).catch(() => {});
  beat();
  const timer = setInterval(beat, HEARTBEAT);
  timer.unref();
  return {
    path,
    handle,
    size,
    async finish(destination) {
      try {
        await handle.sync();
        clearInterval(timer);
        await handle.close();
        ownFiles.delete(path);
        await mkdir(dirname(destination), { recursive: true });
        await rename(path, destination);
        await syncFolder(dirname(destination));
      } catch (cause) {
        throw writeError(destination, cause);
      }
    },
    async release() {
      clearInterval(timer);
      await handle.close().catch(() => {});
      ownFiles.delete(path);
      const left = await stat(path).then(
        (status) => status.size,
        () => 0,
      );
      if (left > 0) await rename(path, `${stem}.refl.incomplete`).catch(() => {});
      else await rm(path, { force: true }).catch(() => {});
    },
  };
}
