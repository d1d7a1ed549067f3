/** The loopback server behind a run in Chromium or Deno: the bundles, the driver's CPU time, and the place where results go. */
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { join, normalize, sep } from "node:path";
import type { DriverTime } from "./clock.ts";
import type { BenchResult } from "./report/result.ts";
import type { DriverThreads } from "./threads.node.ts";

const TYPES: Readonly<Record<string, string>> = {
  html: "text/html",
  mjs: "text/javascript",
  wasm: "application/wasm",
  json: "application/json",
};

export interface ServeOptions {
  /** Whose files are served. */
  readonly folder: string;
  /** Called at the first question for the driver's time, before the engines start; null where the system has no such clock. */
  readonly clock: () => Promise<DriverThreads | null>;
  /** Told the result after every row. */
  readonly onResult: (result: BenchResult) => void;
}

async function body(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

/** Listens on a free port of 127.0.0.1: `GET /driver` answers with a `DriverTime` or null, `POST /result` takes a result. */
export async function serveRun({ folder, clock, onResult }: ServeOptions): Promise<{ server: Server; base: string }> {
  let driver: Promise<DriverThreads | null> | undefined;
  const time = async (): Promise<DriverTime | null> => {
    driver ??= clock();
    const found = await driver;
    return found && { ms: found.workers(), threads: found.threads() };
  };
  const server = createServer(async (request, response) => {
    const path = normalize(new URL(request.url ?? "/", "http://localhost").pathname);
    const file = join(folder, path);
    try {
      if (path === "/") {
        response.setHeader("content-type", "text/html");
        response.end("<!doctype html><title>benchmark</title>");
      } else if (path === "/driver") {
        response.setHeader("content-type", "application/json");
        response.end(JSON.stringify(await time()));
      } else if (path === "/result" && request.method === "POST") {
        onResult(JSON.parse(await body(request)) as BenchResult);
        response.statusCode = 204;
        response.end();
      } else if (file.startsWith(folder + sep) && existsSync(file) && statSync(file).isFile()) {
        response.setHeader("content-type", TYPES[file.split(".").pop()!] ?? "application/octet-stream");
        createReadStream(file).pipe(response);
      } else {
        response.statusCode = 404;
        response.end();
      }
    } catch (error) {
      response.statusCode = 500;
      response.end(String(error));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the loopback server has no port");
  return { server, base: `http://127.0.0.1:${address.port}/` };
}
