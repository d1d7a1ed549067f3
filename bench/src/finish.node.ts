/** Options in, files out: what every host's run begins and ends with. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { type Options, parseOptions, USAGE } from "./options.ts";
import { renderHtml } from "./report/html.ts";
import type { BenchResult } from "./report/result.ts";
import { renderText } from "./report/table.ts";
import { mergeTorch, type TorchTimes } from "./report/torch.ts";

export { serveRun } from "./serve.node.ts";
export { gpuProcessThreads, watchDriverThreads } from "./threads.node.ts";

const TORCH = "bench/results/torch.json";

/** Parses the command line; ends the process for `--help` and with code 2 for what it does not know. */
export function options(args: readonly string[]): Options {
  try {
    const parsed = parseOptions(args);
    if (parsed !== "help") return parsed;
    console.log(USAGE);
    process.exit(0);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    console.error(`bench: ${error.message}`);
    process.exit(2);
  }
}

/** The result with PyTorch's times of the same shapes, where there is a file of them. */
export function withTorch(result: BenchResult, { torch }: Options): BenchResult {
  const file = torch ?? TORCH;
  if (torch === null && !existsSync(file)) return result;
  return mergeTorch(result, JSON.parse(readFileSync(file, "utf8")) as TorchTimes);
}

/** Writes the JSON and the page beside it. */
export function save(result: BenchResult, { json }: Options): void {
  mkdirSync(dirname(json), { recursive: true });
  writeFileSync(json, `${JSON.stringify(result, null, 2)}\n`);
  writeFileSync(json.replace(/(\.json)?$/, ".html"), renderHtml(result));
}

/** Writes the files and prints the table. */
export function write(result: BenchResult, given: Options): void {
  const whole = withTorch(result, given);
  save(whole, given);
  console.log(`\n${renderText(whole)}\n\n${given.json}`);
}
