/** One file from the hub to the disk: goes on where an earlier download ended, hashes what passes, and names the file only when size and hash are right. */
import { createHash, type Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { open, stat } from "node:fs/promises";
import { writeError } from "../formats/atomic.node.ts";
import { type ContentHash, type ContentTag, gitBlobHeader } from "./etag.ts";
import { connectionError } from "./http.node.ts";
import { finalError, type HubClient, type RemoteFile } from "./hub-client.node.ts";
import { HubError } from "./hub-error.ts";
import { type ModelId, modelIdText } from "./model-id.ts";
import { claimPartial, type PartialFile } from "./partial.node.ts";
import { type RetryOptions, retrying, TransientError } from "./retry.ts";

const READ_BYTES = 2 ** 20;

/** Bytes that an attempt must bring for the failures before it to be forgotten: a server that gives one byte each time is no server. */
const PROGRESS_BYTES = 2 ** 20;

/** Times that a file put together from several answers is fetched anew when its hash is wrong. */
const MAX_ROUNDS = 3;

function newHash(hash: ContentHash, size: number): Hash {
  return hash === "sha256" ? createHash("sha256") : createHash("sha1").update(gitBlobHeader(size));
}

async function hashRange(handle: FileHandle, into: Hash, length: number, signal?: AbortSignal): Promise<void> {
  const buffer = new Uint8Array(Math.min(READ_BYTES, Math.max(1, length)));
  for (let done = 0; done < length; ) {
    signal?.throwIfAborted();
    const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, length - done), done);
    if (bytesRead === 0) throw new Error(`ends at byte ${done}, it had ${length}`);
    into.update(buffer.subarray(0, bytesRead));
    done += bytesRead;
  }
}

/** Whether a file on disk has the size and the hash that the hub tells. `false` when it cannot be read. */
export async function isIntact(
  path: string,
  { etag, hash, size }: ContentTag & { size: number },
  signal?: AbortSignal,
): Promise<boolean> {
  const handle = await open(path, "r").catch(() => undefined);
  if (!handle) return false;
  try {
    const status = await handle.stat();
    if (!status.isFile() || status.size !== size) return false;
    const digest = newHash(hash, size);
    await hashRange(handle, digest, size, signal);
    return digest.digest("hex") === etag;
  } catch (cause) {
    if (signal?.aborted) throw cause;
    return false;
  } finally {
    await handle.close();
  }
}

/** Whether a file of this size is there: what a blob's name promises was checked when it got the name. */
export async function hasSize(path: string, size: number): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() === true && found.size === size;
}

/** What fetching a file may tell. */
export interface FetchListener {
  /** Bytes that stand in the file so far; may fall when they turn out wrong. */
  onBytes(bytes: number): void;
  /** Another process is fetching the same file and is waited for. */
  onWait(): void;
}

/** A download: the file as far as it is there, and the hash of just that. */
class Download {
  readonly #client: HubClient;
  readonly #id: ModelId;
  readonly #remote: RemoteFile;
  readonly #partial: PartialFile;
  readonly #retry: RetryOptions;
  readonly #listener: FetchListener;
  #hash: Hash;
  #received = 0;
  /** Whether the bytes came from more than one answer, so that they may not belong together. */
  #joined = false;

  constructor(
    client: HubClient,
    id: ModelId,
    remote: RemoteFile,
    partial: PartialFile,
    retry: RetryOptions,
    listener: FetchListener,
  ) {
    this.#client = client;
    this.#id = id;
    this.#remote = remote;
    this.#partial = partial;
    this.#retry = retry;
    this.#listener = listener;
    this.#hash = newHash(remote.hash, remote.size);
  }

  async run(): Promise<void> {
    const { etag, size } = this.#remote;
    await this.#takeUp();
    for (let round = 1; ; round++) {
      if (this.#received < size) await retrying((progress) => this.#pass(progress), this.#retry).catch(finalError);
      const found = this.#hash.digest("hex");
      if (found === etag) return;
      const joined = this.#joined;
      await this.#restart();
      if (joined && round < MAX_ROUNDS) continue;
      throw new HubError(
        "damaged",
        `${this.#what}: what the server sends is not the file: its hash is ${found}, the hub says ${etag}; nothing of it was kept`,
      );
    }
  }

  get #what(): string {
    return `${modelIdText(this.#id)}: ${this.#remote.file}`;
  }

  /** Takes over what an earlier download left. */
  async #takeUp(): Promise<void> {
    const { size } = this.#partial;
    if (size > this.#remote.size) return this.#restart();
    await this.#onDisk(() => hashRange(this.#partial.handle, this.#hash, size, this.#retry.signal));
    this.#received = size;
    this.#joined = size > 0;
    this.#listener.onBytes(size);
  }

  async #restart(): Promise<void> {
    await this.#onDisk(() => this.#partial.handle.truncate(0));
    this.#hash = newHash(this.#remote.hash, this.#remote.size);
    this.#received = 0;
    this.#joined = false;
    this.#listener.onBytes(0);
  }

  /** Asks for what is missing, once, and writes what comes. @throws TransientError when it is less than all. */
  async #pass(progress: () => void): Promise<void> {
    const { file, size } = this.#remote;
    const { signal } = this.#retry;
    const { start, url, body } = await this.#client.open(this.#id, this.#remote, this.#received);
    try {
      if (start === 0 && this.#received > 0) await this.#restart();
      this.#joined = this.#received > 0;
      const before = this.#received;
      for await (const chunk of body as AsyncIterable<Uint8Array>) {
        if (this.#received + chunk.byteLength > size) {
          await this.#restart();
          throw new HubError(
            "damaged",
            `${this.#what}: the server sends more than the ${size} bytes that the hub tells; nothing of it was kept`,
          );
        }
        await this.#onDisk(() => this.#append(chunk));
        this.#hash.update(chunk);
        this.#received += chunk.byteLength;
        this.#listener.onBytes(this.#received);
        if (this.#received - before >= PROGRESS_BYTES) progress();
      }
    } catch (cause) {
      throw connectionError(url, cause, signal);
    } finally {
      body.destroy();
    }
    signal?.throwIfAborted();
    if (this.#received < size)
      throw new TransientError(`${url.origin}: ${file} ended after ${this.#received} of ${size} bytes`);
  }

  async #append(chunk: Uint8Array): Promise<void> {
    for (let done = 0; done < chunk.byteLength; ) {
      const { bytesWritten } = await this.#partial.handle.write(
        chunk,
        done,
        chunk.byteLength - done,
        this.#received + done,
      );
      done += bytesWritten;
    }
  }

  /** Runs work on the file; what fails is told as the disk's fault, not the server's. */
  async #onDisk(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (cause) {
      if (this.#retry.signal?.aborted) throw cause;
      throw writeError(this.#partial.path, cause);
    }
  }
}

/**
 * Fetches a file to `destination`, unless another process did so meanwhile (`isDone`). `stem` names its partial files and lies on the same file
 * system. Gives back whether it was fetched here. On any error nothing has changed at `destination`; bytes that may be right are kept for the next time.
 * @throws HubError, StorageError; the signal's reason once that is set.
 */
export async function fetchFile(
  client: HubClient,
  id: ModelId,
  remote: RemoteFile,
  place: { readonly destination: string; readonly stem: string; readonly isDone: () => Promise<boolean> },
  retry: RetryOptions,
  listener: FetchListener,
): Promise<boolean> {
  const partial = await claimPartial(place.stem, place.isDone, {
    signal: retry.signal,
    onWait: () => listener.onWait(),
  });
  if (!partial) return false;
  let finished = false;
  try {
    await new Download(client, id, remote, partial, retry, listener).run();
    await partial.finish(place.destination);
    finished = true;
    return true;
  } finally {
    if (!finished) await partial.release();
  }
}
