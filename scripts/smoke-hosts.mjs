/** Runs the ops' smoke check and the shipped shapes16 models in Deno and in headless Chromium, from one bundle. The last line is `{"passed":n,"failed":n,"skipped":[…]}`. */
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
const MODELS = join(ROOT, "packages", "refl", "assets", "models", "shapes16");
/** A host that has not ended by then counts as failed; it takes under two minutes. */
const TIMEOUT = 420_000;
/** Rewards and losses of two hosts, whose adapters sum in other orders, differ by less. */
const AGREEMENT = 1e-3;
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
/** What the pipeline's numbers were on each host that had them. */
const found = [];

async function bundle() {
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER, { recursive: true });
  const outfile = join(FOLDER, "smoke.js");
  await build({
    absWorkingDir: ROOT,
    stdin: {
      contents: `
        import { smoke } from "./packages/autograd/test/smoke.ts";
        import { pipelineSmoke } from "./packages/refl/test/pipeline-smoke.ts";
        export const run = async (models) => [...(await smoke()), await pipelineSmoke(models)];`,
      resolveDir: ROOT,
    },
    outfile,
    bundle: true,
    platform: "neutral",
    format: "esm",
    target: "es2022",
    conditions: ["source", "module", "import"],
    mainFields: ["module", "main"],
    logLevel: "silent",
  });
  return outfile;
}

function report(name, reports) {
  for (const { tier, adapter, passed, failed, failures, seconds, values } of reports) {
    const device = [adapter.vendor, adapter.architecture, adapter.device, adapter.description]
      .filter(Boolean)
      .join(" ");
    console.log(
      `${name}, ${values ? "models" : `${tier} tier`}, ${device || "unnamed adapter"}: ${passed} passed, ${failed} failed, ${seconds.toFixed(1)} s`,
    );
    for (const failure of failures) console.log(`  ${failure}`);
    if (values?.length) found.push({ name, values });
    total.passed += passed;
    total.failed += failed;
  }
}

function fail(name, message) {
  console.log(`${name}: ${message}`);
  total.failed++;
}

/** Every host must have found the first one's numbers. */
function compareHosts() {
  const [first, ...others] = found;
  for (const { name, values } of others) {
    const errors = values.map((value, i) => Math.abs(value - first.values[i]) / Math.max(1, Math.abs(first.values[i])));
    const worst = Math.max(...errors);
    console.log(`${name} and ${first.name}: rewards and losses differ by at most ${worst.toExponential(1)}`);
    total[worst <= AGREEMENT ? "passed" : "failed"]++;
  }
}

/** Serves the bundle and the models to this machine, on which a page is a secure context, as WebGPU needs. */
async function serve(file) {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://127.0.0.1");
    const path =
      pathname === "/smoke.js" ? file : pathname.startsWith("/models/") ? join(MODELS, pathname.slice(8)) : null;
    const content = path === null ? "<!doctype html><title>smoke</title>" : await readFile(path).catch(() => null);
    response.statusCode = content === null ? 404 : 200;
    response.setHeader(
      "content-type",
      path === null ? "text/html" : path === file ? "text/javascript" : "application/octet-stream",
    );
    response.end(request.method === "HEAD" ? undefined : content);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, origin: `http://127.0.0.1:${server.address().port}` };
}

async function inDeno(file, origin) {
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
    `import { run } from ${JSON.stringify(file)};\nconsole.log("report " + JSON.stringify(await run("${origin}/models")));\nDeno.exit(0);\n`,
  );
  const rights = ["--unstable-webgpu", "--allow-read", "--allow-net=127.0.0.1", "--no-prompt"];
  const { code, output } = await capture(deno, ["run", ...rights, main], { ...options, timeout: TIMEOUT });
  const line = /^report (.*)$/m.exec(output)?.[1];
  if (line === undefined) fail("Deno", `ended with ${code} before its report:\n${output.trim().slice(-2000)}`);
  else report("Deno", JSON.parse(line));
}

async function inChromium(origin) {
  const executablePath = findProgram(...CHROMIUM_NAMES);
  if (executablePath === null) {
    console.log("Chromium is not installed");
    total.skipped.push("Chromium smoke check");
    return;
  }
  const { chromium } = await import("playwright-core");
  let browser;
  try {
    browser = await chromium.launch({ executablePath, headless: true, args: CHROMIUM_FLAGS });
    const page = await browser.newPage();
    const logged = [];
    page.on("console", (message) => logged.push(message.text()));
    await page.goto(`${origin}/`);
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no report in ${TIMEOUT / 1000} s`)), TIMEOUT);
    });
    const run = page.evaluate(async () => {
      const { run } = await import("/smoke.js");
      return run(`${location.origin}/models`);
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
  }
}

const file = await bundle();
const { server, origin } = await serve(file);
await inDeno(file, origin);
await inChromium(origin);
server.close();
compareHosts();
console.log(JSON.stringify(total));
process.exitCode = total.failed > 0 ? 1 : 0;
