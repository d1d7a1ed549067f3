/** Runs the benchmark in headless Chromium: the bundles are served from this machine, the page returns the result. */
import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import { join, normalize } from "node:path";
import { findProgram } from "../setup/run.mjs";
import { CHROMIUM_NAMES, ensureTestHosts } from "../setup/test-hosts.mjs";
import { bundleEntry } from "./build.mjs";
import { finish } from "./finish.mjs";

const TYPES = { html: "text/html", mjs: "text/javascript", wasm: "application/wasm", json: "application/json" };
/** Where there is a GPU Chromium takes it; REFL_BENCH_ADAPTER=swiftshader asks for the software adapter. */
const FLAGS = [
  "--no-sandbox",
  "--enable-unsafe-webgpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

function serve(folder) {
  const server = createServer((request, response) => {
    const path = normalize(new URL(request.url, "http://localhost").pathname);
    if (path === "/") {
      response.setHeader("content-type", TYPES.html);
      response.end("<!doctype html><title>benchmark</title>");
      return;
    }
    const file = join(folder, path);
    if (!file.startsWith(folder) || !existsSync(file)) {
      response.statusCode = 404;
      response.end();
      return;
    }
    response.setHeader("content-type", TYPES[file.split(".").pop()] ?? "application/octet-stream");
    createReadStream(file).pipe(response);
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

/** Resolves to the exit code. */
export async function runChromium(root, folder, args) {
  await ensureTestHosts(root);
  const executablePath = findProgram(...CHROMIUM_NAMES);
  if (executablePath === null) {
    console.error("Chromium is not installed");
    return 1;
  }
  const report = await finish(root, folder);
  const options = report.options(args);
  await bundleEntry(root, "web.ts", join(folder, "web.mjs"), "browser");
  const { chromium } = await import("playwright-core");
  const server = await serve(folder);
  const base = `http://127.0.0.1:${server.address().port}/`;
  const adapter = process.env.REFL_BENCH_ADAPTER ?? "swiftshader";
  const browser = await chromium.launch({
    executablePath,
    headless: true,
    args: [...FLAGS, `--use-webgpu-adapter=${adapter}`],
  });
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(0);
    page.on("console", (text) => {
      if (text.text().startsWith("bench: ")) console.error(text.text().slice(7));
    });
    await page.goto(base);
    const result = await page.evaluate(
      async ([given, from]) => {
        const { runOnWeb } = await import("/web.mjs");
        const bytes = async (file) => (await fetch(`${from}peers/${file}`)).arrayBuffer();
        return runOnWeb(given, (line) => console.log(`bench: ${line}`), bytes);
      },
      [{ name: `chromium ${browser.version()}`, base: `${base}peers/`, options }, base],
    );
    report.write(result, options);
    return 0;
  } finally {
    await browser.close();
    server.close();
  }
}
