/** The parts of the benchmark that turn options and results into files, for the hosts that Node only drives. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { bundleEntry } from "./build.mjs";

/** `options(args)` parses the command line; `save` and `write(result, options)` write the files, `write` prints the table; `serveRun` and the clocks serve the run. */
export async function finish(root, folder) {
  const file = join(folder, "finish.mjs");
  await bundleEntry(root, "finish.node.ts", file);
  return import(pathToFileURL(file).href);
}
