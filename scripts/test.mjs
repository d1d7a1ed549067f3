/** `npm test`: the set-up, then every check and every test, and the true counts in the last line. */
import { spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { countReport, lastJson } from "./lint/test-report.mjs";
import { hostEnvironment } from "./setup/environment.mjs";
import { ROOT, setup } from "./setup.mjs";

/**
 * Processes, one after the other, that share the GPU tests. A software adapter maps memory for each of its buffers and kernels and gives little of it back before the
 * process ends; Linux allows 65,530 maps to a process, beyond which the driver crashes. A single process came to that.
 */
const GPU_PROCESSES = 4;

await setup({ forTests: true });

const env = hostEnvironment(ROOT);
// The tools take CI for a terminal with colours; a log has none.
if (!process.stdout.isTTY && !env.FORCE_COLOR) env.NO_COLOR = "1";
const total = { passed: 0, failed: 0 };
const skipped = [];

/** Runs a Node script with its output shown. Resolves to `{code, output}`, the output being what it wrote to standard output. */
function node(script, args) {
  return new Promise((resolve) => {
    const chunks = [];
    const child = spawn(process.execPath, [join(ROOT, script), ...args], {
      cwd: ROOT,
      env,
      stdio: ["ignore", "pipe", "inherit"],
    });
    child.stdout.on("data", (chunk) => {
      chunks.push(chunk);
      process.stdout.write(chunk);
    });
    child.on("close", (code) => resolve({ code: code ?? 1, output: Buffer.concat(chunks).toString("utf8") }));
  });
}

/** One check that counts as one test. */
async function check(title, script, args) {
  const { code } = await node(script, args);
  console.log(`${code === 0 ? "passed" : "FAILED"}: ${title}`);
  total[code === 0 ? "passed" : "failed"]++;
}

async function vitest(project, shard = "1/1") {
  const file = join(ROOT, ".cache", `vitest-${project}-${shard.replace("/", "-of-")}.json`);
  rmSync(file, { force: true });
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
  const args = ["run", "--project", project, `--shard=${shard}`, ...reporters];
  const { code } = await node("node_modules/vitest/vitest.mjs", args);
  const counts = countReport(existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : null, code);
  total.passed += counts.passed;
  total.failed += counts.failed;
  skipped.push(...counts.skipped);
}

async function smokeHosts() {
  if (!existsSync(join(ROOT, "scripts/smoke-hosts.mjs"))) return;
  const { code, output } = await node("scripts/smoke-hosts.mjs", []);
  const summary = lastJson(output);
  const failed = summary?.failed ?? 0;
  total.passed += summary?.passed ?? 0;
  total.failed += failed === 0 && (code !== 0 || summary === null) ? 1 : failed;
  if (Array.isArray(summary?.skipped)) skipped.push(...summary.skipped);
}

await check("imports go down the floors", "scripts/check-floors.mjs", []);
await check("kernel names are unique", "scripts/embed-wgsl.mjs", ["--check"]);
await check("lint and format", "node_modules/@biomejs/biome/bin/biome", ["check", "--diagnostic-level=error", "."]);
await check("types", "node_modules/typescript/bin/tsc", ["-p", "tsconfig.json"]);
await vitest("cpu");
for (let shard = 1; shard <= GPU_PROCESSES; shard++) await vitest("gpu", `${shard}/${GPU_PROCESSES}`);
await smokeHosts();

for (const name of skipped) console.log(`skipped: ${name}`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed > 0 ? 1 : 0;
