/** A hub on the loopback interface that speaks the resolve protocol, keeps account of what it is asked, and misbehaves on demand. */
import { createHash } from "node:crypto";
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";

/** What was asked. */
export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** The file of a resolve address. */
  readonly file: string | undefined;
  /** First byte of a `Range`. */
  readonly from: number;
}

/** How an answer goes wrong; everything that is not named goes right. */
export interface Fault {
  /** Status without a file, with these headers. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Bytes of the body after which the connection is dropped. */
  readonly cut?: number;
  /** The connection is dropped before any answer. */
  readonly drop?: boolean;
  /** The answer ends in order, after so many bytes, without having announced a length. */
  readonly endEarly?: number;
  /** The body is other bytes of the same length. */
  readonly wrong?: boolean;
  /** Further bytes after the body, without an announced length. */
  readonly extra?: number;
  /** `Range` is not heard. */
  readonly ignoreRange?: boolean;
  /** The announced length is so many bytes more than it should be. */
  readonly lengthOff?: number;
  /** Waits so many milliseconds between two halves of the body. */
  readonly slow?: number;
  /** Never answers. */
  readonly hang?: boolean;
}

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
export const gitSha1 = (bytes: Uint8Array): string =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

/** Bytes that follow from a seed. */
export function pseudoRandom(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed | 1;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** The hub. Files of more than 1 KiB are in large-file storage (SHA-256), the others in Git (blob SHA-1). */
export class LoopbackHub {
  readonly files = new Map<string, Uint8Array>();
  readonly asked: Asked[] = [];
  commit = COMMIT;
  /** Text of the listing; by default that of `files`. */
  listing: string | undefined;
  /** Origin of another server that has the large files; they are redirected to it. */
  storage: string | undefined;
  fault: (asked: Asked) => Fault | undefined = () => undefined;
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The requests of a method for a file. */
  of(method: string, file?: string): Asked[] {
    return this.asked.filter((asked) => asked.method === method && (file === undefined || asked.file === file));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname: path } = new URL(request.url ?? "/", this.url);
    const resolved = /^\/(?:some\/model\/resolve\/[^/]+|storage)\/(.+)$/.exec(path)?.[1];
    const file = resolved === undefined ? undefined : decodeURIComponent(resolved);
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const asked: Asked = { method: request.method ?? "", path, headers: request.headers, file, from };
    this.asked.push(asked);
    const fault = this.fault(asked) ?? {};
    if (fault.hang) return;
    if (fault.drop) return void response.destroy();
    if (fault.status !== undefined) return void response.writeHead(fault.status, fault.headers).end();
    if (path.startsWith("/api/models/some/model/revision/")) {
      const siblings = [...this.files.keys()].map((rfilename) => ({ rfilename }));
      return void response.end(this.listing ?? JSON.stringify({ id: "some/model", sha: this.commit, siblings }));
    }
    const bytes = file === undefined ? undefined : this.files.get(file);
    if (bytes === undefined || file === undefined)
      return void response.writeHead(404, { "x-error-code": "EntryNotFound" }).end();
    const large = bytes.length > 1024;
    const isStorage = path.startsWith("/storage/");
    if (!isStorage) {
      response.setHeader("x-repo-commit", this.commit);
      if (large) {
        response.setHeader("x-linked-etag", `"${sha256(bytes)}"`);
        response.setHeader("x-linked-size", bytes.length);
      } else response.setHeader("etag", `"${gitSha1(bytes)}"`);
      if (large && this.storage !== undefined)
        return void response.writeHead(302, { location: `${this.storage}/storage/${file}?signature=secret` }).end();
    }
    for (const [name, value] of Object.entries(fault.headers ?? {})) response.setHeader(name, value);
    await this.#body(asked, fault, bytes, response);
  }

  async #body({ method, from }: Asked, fault: Fault, bytes: Uint8Array, response: ServerResponse): Promise<void> {
    const start = fault.ignoreRange ? 0 : from;
    if (start > bytes.length || (start > 0 && start === bytes.length))
      return void response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
    const served = fault.wrong ? bytes.map((byte) => byte ^ 0x5a) : bytes;
    let body = served.subarray(start);
    if (start > 0) {
      response.statusCode = 206;
      response.setHeader("content-range", `bytes ${start}-${bytes.length - 1}/${bytes.length}`);
    }
    const streamed = fault.endEarly !== undefined || fault.extra !== undefined;
    if (!streamed) response.setHeader("content-length", body.length + (fault.lengthOff ?? 0));
    if (method === "HEAD") return void response.end();
    if (fault.endEarly !== undefined) body = body.subarray(0, fault.endEarly);
    if (fault.cut !== undefined) {
      // Flushed first, so that the client does get the bytes before the end.
      response.write(body.subarray(0, fault.cut));
      setTimeout(() => response.destroy(), 20);
      return;
    }
    if (fault.slow !== undefined) {
      const middle = body.length >> 1;
      response.write(body.subarray(0, middle));
      await new Promise((resolve) => setTimeout(resolve, fault.slow));
      body = body.subarray(middle);
    }
    response.write(body);
    if (fault.extra !== undefined) response.write(new Uint8Array(fault.extra));
    response.end();
  }
}
