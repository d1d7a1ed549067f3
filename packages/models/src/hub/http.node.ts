/** One HTTP request to a hub: redirects under our own rules, a token that stays with its host, and failures told apart by whether they pass. */
import http from "node:http";
import https from "node:https";
import { ReflError } from "@refl/tensor";
import { HubError } from "./hub-error.ts";
import { isControl } from "./model-id.ts";
import { TransientError } from "./retry.ts";

/** What is asked, and how. */
export interface HubRequest {
  readonly method: "GET" | "HEAD";
  /** Sent to the first URL's own origin alone, and over plain HTTP only to the machine itself. */
  readonly token?: string | undefined;
  /** First byte that is wanted; the whole file where absent. */
  readonly from?: number | undefined;
  /** Seconds without a byte after which the connection counts as dropped. */
  readonly timeout: number;
  readonly signal?: AbortSignal | undefined;
}

/** An answer whose body has not been read. `url` is where it came from, after redirects. */
export interface HubAnswer {
  readonly status: number;
  readonly url: URL;
  readonly header: (name: string) => string | undefined;
  readonly body: http.IncomingMessage;
}

const MAX_REDIRECTS = 10;

/** Longest text of a server that is repeated in a message. */
const MAX_TOLD = 200;

const PASSING_STATUS = new Set([408, 425, 429, 500, 502, 503, 504]);

/** System codes of connections that may work a moment later. */
const PASSING_CODE =
  /^(?:ECONNRESET|ECONNREFUSED|ECONNABORTED|EPIPE|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|EHOSTUNREACH|ENETDOWN|ERR_STREAM_PREMATURE_CLOSE|HPE_\w+)$/;

/** Whether a plain-HTTP host is the machine itself. */
const isLoopback = (hostname: string): boolean => /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname);

/** Whether a token may be sent to a URL: nobody on the way can read it. */
export function mayCarryToken(url: URL): boolean {
  return url.protocol === "https:" || isLoopback(url.hostname);
}

/** A server's own words without control characters, cut to a line. */
function told(text: string): string {
  const plain = [...text].filter((character) => !isControl(character)).join("");
  return plain.length > MAX_TOLD ? `${plain.slice(0, MAX_TOLD)}…` : plain;
}

/** Where an address leads, for messages; the query is left out, since signed addresses are secrets. */
export function addressText(url: URL): string {
  return `${url.origin}${url.pathname}`;
}

/**
 * A failed connection as the error that it is: what the signal stopped and errors of this project as they are, a `TransientError` where trying
 * again may help, else a `HubError`.
 */
export function connectionError(url: URL, cause: unknown, signal?: AbortSignal): unknown {
  if (signal?.aborted) return signal.reason;
  if (cause instanceof ReflError || cause instanceof TransientError) return cause;
  const { code, message } = cause as NodeJS.ErrnoException;
  // What bears no system's code is no connection's failure but a mistake of ours.
  if (typeof code !== "string") return cause;
  const text = `${url.origin}: ${code === "ECONNRESET" ? "the connection was dropped" : told(message || code)}`;
  if (PASSING_CODE.test(code)) return new TransientError(text, { cause });
  return new HubError("unavailable", text, 0, { cause });
}

function sendOnce(url: URL, headers: http.OutgoingHttpHeaders, request: HubRequest): Promise<http.IncomingMessage> {
  const { method, timeout, signal } = request;
  return new Promise((resolve, reject) => {
    const { request: open } = url.protocol === "https:" ? https : http;
    const sent = open(url, { method, headers, timeout: timeout * 1000, ...(signal ? { signal } : {}) }, resolve);
    sent.on("timeout", () => sent.destroy(new TransientError(`${url.origin}: silent for ${timeout} s`)));
    sent.on("error", (cause) => reject(connectionError(url, cause, signal)));
    sent.end();
  });
}

function redirectTarget(location: string, from: URL): URL {
  if (!URL.canParse(location, from))
    throw new HubError(
      "protocol",
      `${addressText(from)}: redirects to ${JSON.stringify(told(location))}, which is no URL`,
    );
  const target = new URL(location, from);
  const allowed = target.protocol === "https:" || (target.protocol === "http:" && from.protocol === "http:");
  if (!allowed)
    throw new HubError(
      "protocol",
      `${addressText(from)}: redirects to ${target.protocol}//${target.host}, refused: not https`,
    );
  return target;
}

/**
 * Sends a request and follows redirects, but for those of a hub that describe a file (`X-Repo-Commit`) and lead to the storage where its bytes
 * are: such an answer to `HEAD` is the one that is wanted. A mirror's redirect to a hub describes nothing and is followed. The caller reads or destroys the body.
 * @throws TransientError when it may work later; HubError when it will not; the signal's reason once that is set.
 */
export async function send(start: URL, request: HubRequest): Promise<HubAnswer> {
  let url = start;
  let token = request.token;
  for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
    request.signal?.throwIfAborted();
    // Once another host has answered, the token is gone for good: it could send us anywhere.
    if (url.origin !== start.origin || !mayCarryToken(url)) token = undefined;
    const body = await sendOnce(
      url,
      {
        "user-agent": "refl",
        // Sizes and hashes are those of the file itself.
        "accept-encoding": "identity",
        ...(request.from ? { range: `bytes=${request.from}-` } : {}),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      request,
    );
    const status = body.statusCode ?? 0;
    const header = (name: string): string | undefined => {
      const value = body.headers[name];
      return Array.isArray(value) ? value[0] : value;
    };
    const location = header("location");
    if (status < 300 || status >= 400 || location === undefined) return { status, url, header, body };
    try {
      const target = redirectTarget(location, url);
      const describes = request.method === "HEAD" && header("x-repo-commit") !== undefined;
      if (describes && target.origin !== url.origin) return { status, url, header, body };
      url = target;
    } finally {
      if (request.method === "HEAD") body.resume();
      else body.destroy();
    }
  }
  throw new HubError("protocol", `${addressText(start)}: more than ${MAX_REDIRECTS} redirects`);
}

/** Seconds of a `Retry-After` header, a number or a date. */
function retryAfter(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
}

/**
 * The error that an answer without a file is. `what` names what was asked for. The body is dropped.
 * A hub answers 401 also for models that do not exist, so that nobody can find out which private ones do.
 */
export function refusal(answer: HubAnswer, what: string, token: string | undefined): Error {
  const { status, url, header, body } = answer;
  body.destroy();
  const code = header("x-error-code");
  const message = header("x-error-message");
  const own = message ? ` (${told(message)})` : "";
  const from = addressText(url);
  if (PASSING_STATUS.has(status)) {
    const wait = retryAfter(header("retry-after"));
    const busy = status === 429 ? "too many requests" : "the server has trouble";
    return new TransientError(`${from}: ${busy}, status ${status}${own}`, { wait, status });
  }
  if (code === "GatedRepo" || status === 403)
    return new HubError(
      "access",
      `${what}: the hub allows it to those only who were granted access: ask for it on the model's page${token ? "" : ", and set HF_TOKEN"}${own}`,
      status,
    );
  if (status === 401)
    return new HubError(
      "access",
      token === undefined
        ? `${what}: no such model, or one that needs an access token: set HF_TOKEN${own}`
        : `${what}: no such model, or the access token ${mayCarryToken(url) ? "does not open it" : "was needed, which is not sent over plain http"}${own}`,
      status,
    );
  if (status === 404 || status === 410) {
    const missing =
      code === "RevisionNotFound"
        ? "the model has no such revision"
        : code === "RepoNotFound"
          ? "no such model"
          : "not on the hub";
    return new HubError("not-found", `${what}: ${missing}${own}`, status);
  }
  return new HubError("protocol", `${from}: unexpected answer, status ${status}${own}`, status);
}
