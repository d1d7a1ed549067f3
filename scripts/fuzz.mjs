/**
 * `pnpm fuzz [--reader NAME]… [--count N] [--seed S] [--first I] [--json FILE]`: feeds damaged files to every reader of checkpoints (docs/checkpoints.md).
 * Ends with 1 on a crash (an error that is not typed), a hang (no case done in 20 s) or memory beyond the limit.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { build } from "esbuild";
import { embedWgsl, KERNELS } from "./embed-wgsl.mjs";
import { ROOT } from "./setup.mjs";

const tests = join(ROOT, "packages", "models", "test");
const folder = join(tests, "golden", "checkpoints");
const names = ["safetensors", "torch-zip", "torch-legacy", "any", "sharded", "openai-clip", "lora", "ldm"];
const hangSeconds = 20;
const memoryLimit = 512 * 2 ** 20;

function usage(message) {
  console.error(
    `fuzz: ${message}\nusage: pnpm fuzz [--reader ${names.join("|")}]… [--count N] [--seed S] [--first I] [--json FILE]`,
  );
  process.exit(2);
}

function parse() {
  try {
    return parseArgs({
      options: {
        reader: { type: "string", multiple: true },
        count: { type: "string", default: "100000" },
        seed: { type: "string", default: "1" },
        first: { type: "string", default: "0" },
        json: { type: "string" },
      },
    }).values;
  } catch (error) {
    return usage(error.message);
  }
}

const options = parse();
const whole = (name) => {
  const value = Number(options[name]);
  if (!Number.isInteger(value) || value < 0 || value > 2 ** 31 - 1) usage(`--${name} must be a whole number`);
  return value;
};
const [count, seed, first] = [whole("count"), whole("seed"), whole("first")];
const readers = options.reader ?? names;
const unknown = readers.find((name) => !names.includes(name));
if (unknown) usage(`no reader ${unknown}`);

embedWgsl(KERNELS, { write: true });
const bundle = join(ROOT, ".cache", "fuzz.mjs");
await build({
  entryPoints: [join(tests, "fuzz", "main.ts")],
  bundle: true,
  outfile: bundle,
  platform: "node",
  format: "esm",
  target: "node20",
  conditions: ["source"],
  external: ["webgpu"],
  absWorkingDir: ROOT,
});

/** Runs one reader's cases in a worker, watched from outside: a worker that hangs can say nothing itself. */
function fuzz(reader) {
  const progress = new Int32Array(new SharedArrayBuffer(4)).fill(-1);
  const worker = new Worker(pathToFileURL(bundle), {
    workerData: { folder, reader, seed, first, count, progress },
    resourceLimits: { maxOldGenerationSizeMb: memoryLimit / 2 ** 20 },
  });
  return new Promise((resolve) => {
    let last = -1;
    let idle = 0;
    const end = (result) => {
      clearInterval(timer);
      resolve(result);
    };
    const timer = setInterval(() => {
      const at = Atomics.load(progress, 0);
      idle = at === last && at >= 0 ? idle + 1 : 0;
      last = at;
      if (idle < hangSeconds) return;
      end({ hang: at });
      worker.terminate();
    }, 1000);
    worker.once("message", (report) => end(report));
    worker.once("error", (error) => end({ died: Atomics.load(progress, 0), error: String(error) }));
  });
}

let failed = false;
const results = [];
for (const reader of readers) {
  const started = performance.now();
  const report = await fuzz(reader);
  const seconds = (performance.now() - started) / 1000;
  const again = (index) => `pnpm fuzz --reader ${reader} --seed ${seed} --first ${index} --count 1`;
  const hangs = report.hang === undefined ? 0 : 1;
  const crashes = report.died === undefined ? (report.crashes ?? 0) : 1;
  const extra = (report.peakBytes ?? 0) - (report.startBytes ?? 0);
  if (hangs || crashes || extra > memoryLimit) failed = true;
  results.push({ ...report, reader, cases: count, seconds, crashes, hangs, extraBytes: extra });
  if (hangs) console.log(`${reader}: case ${report.hang} hangs: ${again(report.hang)}`);
  else if (report.died !== undefined)
    console.log(`${reader}: case ${report.died}: ${report.error}: ${again(report.died)}`);
  else {
    console.log(
      `${reader}: ${count} files, ${report.refused} refused, ${report.read} read, ${crashes} crashes, 0 hangs; slowest ${report.slowest.milliseconds.toFixed(0)} ms (case ${report.slowest.index}), at most ${(extra / 2 ** 20).toFixed(0)} MiB, ${seconds.toFixed(0)} s`,
    );
  }
  for (const { index, error } of report.failures ?? []) console.log(`  case ${index}: ${error}\n  ${again(index)}`);
}
if (options.json) {
  writeFileSync(options.json, `${JSON.stringify({ seed, first, count, node: process.version, results }, null, 2)}\n`);
}
process.exit(failed ? 1 : 0);
