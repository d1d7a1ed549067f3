/**
 * `pnpm parity [--full] [--only NAME]… [--json FILE]`: models on seeded weights against PyTorch's results (docs/testing.md). Without `--full`, the autoencoders
 * alone. Prints a line for every activation, output and gradient; ends with 1 when one is beyond its bar.
 */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { build } from "esbuild";
import { embedWgsl, KERNELS } from "./embed-wgsl.mjs";
import { hostEnvironment } from "./setup/environment.mjs";
import { ROOT } from "./setup.mjs";

const tests = join(ROOT, "packages", "models", "test");
const bundle = join(ROOT, ".cache", "parity.mjs");

function usage(message) {
  console.error(`parity: ${message}\nusage: pnpm parity [--full] [--only NAME]… [--json FILE]`);
  process.exit(2);
}

function parse() {
  try {
    const given = { full: { type: "boolean" }, only: { type: "string", multiple: true }, json: { type: "string" } };
    return parseArgs({ options: given }).values;
  } catch (error) {
    return usage(error.message);
  }
}

const options = parse();
Object.assign(process.env, hostEnvironment(ROOT));
embedWgsl(KERNELS, { write: true });
await build({
  entryPoints: [join(tests, "parity", "main.ts")],
  bundle: true,
  outfile: bundle,
  platform: "node",
  format: "esm",
  target: "node20",
  conditions: ["source"],
  external: ["webgpu"],
  absWorkingDir: ROOT,
});
const { PARITY_CASES, run } = await import(pathToFileURL(bundle).href);
const unknown = options.only?.find((name) => !PARITY_CASES.some((item) => item.name === name));
if (unknown) usage(`no case ${unknown}; known: ${PARITY_CASES.map(({ name }) => name).join(", ")}`);
const cases = PARITY_CASES.filter((item) => options.only?.includes(item.name) ?? (options.full || item.quick));

const golden = join(tests, "golden", "parity");
const lacking = cases.filter(({ name }) => !existsSync(join(golden, `${name}.safetensors`)));
const present = cases.filter((item) => !lacking.includes(item));
for (const { name, title } of lacking)
  console.log(`${title}: no golden file ${name}.safetensors; make it with reference/make_parity.py`);

const started = performance.now();
const printed = (value) => value.toExponential(1);
console.log(`${"model".padEnd(34)} ${"what".padEnd(40)} difference  bar`);
/** Written after every case, so that a run that is broken off leaves what it measured. */
function write(content) {
  if (options.json) writeFileSync(options.json, `${JSON.stringify(content, null, 2)}\n`);
}

const finished = [];
const done = await run(present, golden, (result) => {
  const { rows, seconds, peakBytes, parameters, tensors } = result;
  finished.push(result);
  write({ results: finished });
  for (const { model, what, difference, bar, ok, worst } of rows) {
    const where = worst && !ok ? ` (${worst})` : "";
    console.log(
      `${model.padEnd(34)} ${what.padEnd(40)} ${printed(difference).padEnd(11)} ${printed(bar)} ${ok ? "ok" : "TOO FAR"}${where}`,
    );
  }
  const [weights, forward, backward] = [seconds.weights, seconds.forward, seconds.backward].map((s) => s.toFixed(1));
  console.log(
    `  ${parameters.toLocaleString("en")} parameters in ${tensors} tensors; weights ${weights} s, forward ${forward} s, backward ${backward} s, peak ${(peakBytes / 2 ** 30).toFixed(2)} GiB`,
  );
});
const rows = done.results.flatMap((result) => result.rows);
const failed = rows.filter(({ ok }) => !ok).length;
const seconds = (performance.now() - started) / 1000;
console.log(
  `${rows.length - failed} of ${rows.length} within their bars in ${seconds.toFixed(0)} s on ${done.adapter}`,
);
write({ ...done, seconds });
process.exit(failed || lacking.length ? 1 : 0);
