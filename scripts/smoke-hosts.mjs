/** Runs the ops' smoke check in Deno and in headless Chromium, from one bundle. The last line is `{"passed":n,"failed":n,"skipped":[…]}`. */
import { mkdirSync, rmSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { build } from "esbuild";
import { hostEnvironment } from "./setup/environment.mjs";
import { capture, findProgram } from "./setup/run.mjs";
import { CHROMIUM_NAMES } from "./setup/test-hosts.mjs";
import { ROOT } from "./setup.mjs";

const FOLDER = join(ROOT, ".cache", "smoke");
/** A host that has not ended by then counts as failed; it takes under a minute. */
const TIMEOUT = 300_000;
/** SwiftShader needs the first three; the others keep Chromium from the network and from first-run work. */
const CHROMIUM_FLAGS = [
  "--no-sandbox",
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

const total = { passed: 0, failed: 0, skipped: [] };

async function bundle() {
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER, { recursive: true });
  const outfile = join(FOLDER, "smoke.js");
  await build({
    absWorkingDir: ROOT,
    entryPoints: ["packages/autograd/test/smoke.ts"],
    outfile,
    bundle: true,
    platform: "neutral",
    format: "esm",
    target: "es2022",
    conditions: ["source"],
    logLevel: "silent",
  });
  return outfile;
}

function report(name, reports) {
  for (const { tier, adapter, passed, failed, failures, seconds } of reports) {
    const device = [adapter.vendor, adapter.architecture, adapter.device, adapter.description]
      .filter(Boolean)
      .join(" ");
    console.log(
      `${name}, ${tier} tier, ${device || "unnamed adapter"}: ${passed} passed, ${failed} failed, ${seconds.toFixed(1)} s`,
    );
    for (const failure of failures) console.log(`  ${failure}`);
    total.passed += passed;
    total.failed += failed;
  }
}

function fail(name, message) {
  console.log(`${name}: ${message}`);
  total.failed++;
}

async function inDeno(file) {
  const deno = join(ROOT, "node_modules", ".bin", "deno");
  const environment = hostEnvironment(ROOT);
  const options = { cwd: FOLDER, env: { ...environment, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" } };
  const version = await capture(deno, ["--version"], options);
  if (version.code !== 0) {
    console.log(`Deno does not start here: ${version.output.trim().split("\n")[0]}`);
    total.skipped.push("Deno smoke check");
    return;
  }
  const main = join(FOLDER, "main.js");
  await writeFile(
    main,
    `import { smoke } from ${JSON.stringify(file)};\nconsole.log("report " + JSON.stringify(await smoke()));\nDeno.exit(0);\n`,
  );
  const { code, output } = await capture(deno, ["run", "--unstable-webgpu", "--allow-read", "--no-prompt", main], {
    ...options,
    timeout: TIMEOUT,
  });
  const line = /^report (.*)$/m.exec(output)?.[1];
  if (line === undefined) fail("Deno", `ended with ${code} before its report:\n${output.trim().slice(-2000)}`);
  else report("Deno", JSON.parse(line));
}

async function inChromium(file) {
  const executablePath = findProgram(...CHROMIUM_NAMES);
  if (executablePath === null) {
    console.log("Chromium is not installed");
    total.skipped.push("Chromium smoke check");
    return;
  }
  const { chromium } = await import("playwright-core");
  const script = await readFile(file);
  // WebGPU needs a secure context, which a page from this machine is.
  const server = createServer((request, response) => {
    const isScript = request.url === "/smoke.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? script : "<!doctype html><title>smoke</title>");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  let browser;
  try {
    browser = await chromium.launch({ executablePath, headless: true, args: CHROMIUM_FLAGS });
    const page = await browser.newPage();
    const logged = [];
    page.on("console", (message) => logged.push(message.text()));
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no report in ${TIMEOUT / 1000} s`)), TIMEOUT);
    });
    const run = page.evaluate(async () => {
      const { smoke } = await import("/smoke.js");
      return smoke();
    });
    run.catch(() => {});
    const reports = await Promise.race([run, late]).finally(() => clearTimeout(timer));
    report("Chromium", reports);
    if (reports.some(({ failed }) => failed > 0))
      for (const text of logged.slice(0, 20)) console.log(`  console: ${text}`);
  } catch (error) {
    fail("Chromium", error.message);
  } finally {
    await browser?.close();
    server.close();
  }
}

const file = await bundle();
await inDeno(file);
await inChromium(file);
console.log(JSON.stringify(total));
process.exitCode = total.failed > 0 ? 1 : 0;
