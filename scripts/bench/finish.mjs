/** The parts of the benchmark that turn options and results into files, for the hosts that Node only drives. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { bundleEntry } from "./build.mjs";

/** `options(args)` parses the command line; `write(result, options)` writes the files and prints the table. */
export async function finish(root, folder) {
  const file = join(folder, "finish.mjs");
  await bundleEntry(root, "finish.node.ts", file);
  return import(pathToFileURL(file).href);
}
