/** Where the hub and its cache are, from options and from the environment variables that the hub's own client reads. */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";
import { HubError } from "./hub-error.ts";

/** What all work with a hub needs to know. */
export interface HubSettings {
  /** The hub's address without a slash at its end; `undefined` where none was set. */
  readonly endpoint: string | undefined;
  /** The folder with `models--owner--name` folders. */
  readonly cacheDir: string;
  /** Access token; `undefined` where there is none. */
  readonly token: string | undefined;
  /** Whether nothing may be fetched. */
  readonly offline: boolean;
  /** Seconds without a byte after which a connection counts as dropped. */
  readonly timeout: number;
}

/** Values that go over the environment's. */
export interface HubOptions {
  readonly endpoint?: string | undefined;
  readonly cacheDir?: string | undefined;
  readonly offline?: boolean | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

const DEFAULT_TIMEOUT = 30;

const isTrue = (text: string | undefined): boolean => /^(?:1|on|yes|true)$/i.test(text ?? "");

function path(text: string): string {
  return resolve(text.replace(/^~(?=$|[\\/])/, () => homedir()));
}

function hubHome(env: Environment): string {
  if (env["HF_HOME"]) return path(env["HF_HOME"]);
  return join(env["XDG_CACHE_HOME"] ? path(env["XDG_CACHE_HOME"]) : join(homedir(), ".cache"), "huggingface");
}

/** The cache that `HF_HUB_CACHE`, `HF_HOME` and `XDG_CACHE_HOME` name, the first that is set; else the one in the user's folder. */
export function hubCacheDir(env: Environment = process.env): string {
  return env["HF_HUB_CACHE"] ? path(env["HF_HUB_CACHE"]) : join(hubHome(env), "hub");
}

async function readToken(env: Environment): Promise<string | undefined> {
  if (isTrue(env["HF_HUB_DISABLE_IMPLICIT_TOKEN"])) return undefined;
  const file = env["HF_TOKEN_PATH"] ? path(env["HF_TOKEN_PATH"]) : join(hubHome(env), "token");
  // A missing or unreadable file means that nobody has logged in: public models need no token.
  const token = (env["HF_TOKEN"] || (await readFile(file, "utf8").catch(() => ""))).trim();
  if (!token) return undefined;
  if (!/^[\x21-\x7e]+$/.test(token))
    throw new HubError(
      "setting",
      `the access token (${env["HF_TOKEN"] ? "HF_TOKEN" : file}) holds spaces or signs that no token has`,
    );
  return token;
}

function readEndpoint(text: string | undefined, from: string): string | undefined {
  if (!text) return undefined;
  const fail = (what: string): never => {
    throw new HubError("setting", `${from}: ${what}`);
  };
  const url = URL.canParse(text) ? new URL(text) : fail(`${JSON.stringify(text)} is no URL`);
  if (url.protocol !== "https:" && url.protocol !== "http:") return fail("must begin with https:// or http://");
  if (url.username || url.password) return fail("must hold no user name or password; a token goes into HF_TOKEN");
  if (url.search || url.hash) return fail("must have no query");
  return url.href.replace(/\/+$/, "");
}

/** The settings of options over environment. @throws HubError (`setting`) when one of them cannot be used. */
export async function hubSettings(options: HubOptions = {}, env: Environment = process.env): Promise<HubSettings> {
  const { endpoint, cacheDir, offline } = options;
  const seconds = Number(env["HF_HUB_DOWNLOAD_TIMEOUT"] || DEFAULT_TIMEOUT);
  if (!(seconds > 0 && seconds <= 86_400))
    throw new HubError(
      "setting",
      `HF_HUB_DOWNLOAD_TIMEOUT=${env["HF_HUB_DOWNLOAD_TIMEOUT"]}: must be a number of seconds`,
    );
  return {
    endpoint: endpoint ? readEndpoint(endpoint, "endpoint") : readEndpoint(env["HF_ENDPOINT"], "HF_ENDPOINT"),
    cacheDir: cacheDir ? path(cacheDir) : hubCacheDir(env),
    token: await readToken(env),
    offline: offline || isTrue(env["HF_HUB_OFFLINE"]),
    timeout: seconds,
  };
}
