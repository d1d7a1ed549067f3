/** A model's hub as three questions: what files it has at a revision, what a file is, and a file's bytes from some place on. */
import type { IncomingMessage } from "node:http";
import type { ContentTag } from "./etag.ts";
import { parseEtag } from "./etag.ts";
import { connectionError, type HubAnswer, type HubRequest, refusal, send } from "./http.node.ts";
import { HubError } from "./hub-error.ts";
import { type ModelListing, parseListing } from "./listing.ts";
import { isCommit, type ModelId, modelIdText } from "./model-id.ts";
import { type RetryOptions, retrying, TransientError } from "./retry.ts";
import type { HubSettings } from "./settings.node.ts";

/** A file of a model at one commit, as the hub describes it. */
export interface RemoteFile extends ContentTag {
  readonly file: string;
  readonly commit: string;
  /** Bytes. */
  readonly size: number;
}

/** Bytes of a file from `start` on, to be read once. */
export interface RemoteBytes {
  readonly start: number;
  readonly url: URL;
  readonly body: IncomingMessage;
}

/** A listing beyond this is no listing: 64 MiB are about a million names. */
const MAX_LISTING_BYTES = 64 * 2 ** 20;

const NO_ENDPOINT =
  "no hub is set: give its address as --endpoint, as HF_ENDPOINT in the environment, or as endpoint in a config file";

const encodePath = (path: string): string => path.split("/").map(encodeURIComponent).join("/");

async function readText({ body, url }: HubAnswer, what: string, signal: AbortSignal | undefined): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      size += chunk.byteLength;
      if (size > MAX_LISTING_BYTES)
        throw new HubError("protocol", `${what}: the listing has more than ${MAX_LISTING_BYTES} bytes`);
      chunks.push(chunk);
    }
  } catch (cause) {
    throw connectionError(url, cause, signal);
  }
  return new TextDecoder().decode(Buffer.concat(chunks));
}

function wholeNumber(text: string | undefined): number | undefined {
  const number = text !== undefined && /^\d{1,16}$/.test(text.trim()) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(number) ? number : undefined;
}

/** Questions to the hub at `settings.endpoint`; each is asked again after failures that pass, but for `open`, whose caller goes on where it was. */
export class HubClient {
  readonly #endpoint: string;
  readonly #settings: HubSettings;
  readonly #retry: RetryOptions;

  /** @throws HubError (`setting`) when no endpoint is set. */
  constructor(settings: HubSettings, retry: RetryOptions) {
    if (settings.endpoint === undefined) throw new HubError("setting", NO_ENDPOINT);
    this.#endpoint = settings.endpoint;
    this.#settings = settings;
    this.#retry = retry;
  }

  #send(url: URL, request: Pick<HubRequest, "method" | "from">): Promise<HubAnswer> {
    const { token, timeout } = this.#settings;
    return send(url, { token, timeout, signal: this.#retry.signal, ...request });
  }

  #fileUrl({ owner, name }: ModelId, revision: string, file: string): URL {
    return new URL(`${this.#endpoint}/${owner}/${name}/resolve/${encodeURIComponent(revision)}/${encodePath(file)}`);
  }

  /** The files of a model at its revision. @throws HubError */
  async list(id: ModelId): Promise<ModelListing> {
    const { owner, name, revision } = id;
    const url = new URL(`${this.#endpoint}/api/models/${owner}/${name}/revision/${encodeURIComponent(revision)}`);
    const what = modelIdText(id);
    return retrying(async () => {
      const answer = await this.#send(url, { method: "GET" });
      if (answer.status !== 200) throw refusal(answer, what, this.#settings.token);
      return parseListing(await readText(answer, what, this.#retry.signal), what);
    }, this.#retry).catch(finalError);
  }

  /** What a file is at a revision. @throws HubError, also when size, hash or commit are not told. */
  async describe(id: ModelId, revision: string, file: string): Promise<RemoteFile> {
    const what = `${modelIdText(id)}: ${file}`;
    return retrying(async () => {
      const answer = await this.#send(this.#fileUrl(id, revision, file), { method: "HEAD" });
      const { status, header } = answer;
      const redirects = status >= 300 && status < 400;
      if (status !== 200 && !redirects) throw refusal(answer, what, this.#settings.token);
      answer.body.resume();
      const encoding = header("content-encoding");
      const linked = header("x-linked-etag");
      const tag = parseEtag(linked ?? header("etag") ?? "");
      const size = wholeNumber(
        header("x-linked-size") ?? (redirects || encoding ? undefined : header("content-length")),
      );
      const commit = header("x-repo-commit") ?? "";
      const missing = [
        ...(tag ? [] : ["a SHA-256 or Git hash in X-Linked-Etag or ETag"]),
        ...(size === undefined ? ["a size in X-Linked-Size or Content-Length"] : []),
        ...(isCommit(commit) ? [] : ["a commit in X-Repo-Commit"]),
      ];
      if (!tag || size === undefined || missing.length > 0)
        throw new HubError(
          "protocol",
          `${what}: the hub does not tell ${missing.join(", nor ")}: the file could not be checked`,
        );
      if (isCommit(revision) && commit !== revision)
        throw new HubError("protocol", `${what}: the hub answers for commit ${commit}, asked was ${revision}`);
      return { ...tag, file, commit, size };
    }, this.#retry).catch(finalError);
  }

  /**
   * A file's bytes from `from` on, or from its beginning where the server does not take up in the middle: `start` says which. One try.
   * @throws TransientError when it may work later; HubError when it will not.
   */
  async open(id: ModelId, remote: RemoteFile, from: number): Promise<RemoteBytes> {
    const { file, commit, size } = remote;
    const what = `${modelIdText(id)}: ${file}`;
    const answer = await this.#send(this.#fileUrl(id, commit, file), { method: "GET", from });
    const { status, url, header, body } = answer;
    const refuse = (message: string): never => {
      body.destroy();
      throw new TransientError(`${url.origin}: ${message}`, { status });
    };
    if (status === 416 && from > 0) {
      body.destroy();
      return this.open(id, remote, 0);
    }
    if (status !== 200 && status !== 206) {
      // What a storage host refuses is a signed address that ran out; the hub gives a new one.
      if (url.origin !== new URL(this.#endpoint).origin) refuse(`does not give ${file}, status ${status}`);
      throw refusal(answer, what, this.#settings.token);
    }
    const encoding = header("content-encoding");
    if (encoding !== undefined && encoding !== "identity") refuse(`sends ${file} encoded as ${encoding}, unasked`);
    let start = 0;
    if (status === 206) {
      const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(header("content-range") ?? "");
      start = range ? Number(range[1]) : Number.NaN;
      const total = range && range[3] !== "*" ? Number(range[3]) : size;
      if (start !== from)
        refuse(`answers a request for ${file} from byte ${from} with ${header("content-range") ?? "no range"}`);
      if (total !== size) refuse(`says that ${file} has ${total} bytes, the hub says ${size}`);
    }
    const length = wholeNumber(header("content-length"));
    if (length !== undefined && (status === 200 ? length !== size : start + length > size))
      refuse(`announces ${length} bytes of ${file} from byte ${start}, ${size - start} are wanted`);
    return { start, url, body };
  }
}

/** A `TransientError` that was met too often, as the `HubError` that it comes to; other errors as they are. Always throws. */
export function finalError(error: unknown): never {
  if (!(error instanceof TransientError)) throw error;
  const later = error.wait === undefined ? "" : `; it asks to wait ${Math.ceil(error.wait)} s`;
  throw new HubError("unavailable", `${error.message}${later}`, error.status, { cause: error });
}
