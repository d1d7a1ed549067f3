/** Prepares a bare machine for the demo and the tests: pnpm, the locked packages, the build and a WebGPU adapter; what is done already is skipped. */
import { fileURLToPath } from "node:url";
import { ensureAdapter } from "./setup/adapter.mjs";
import { ensureBuild } from "./setup/build-step.mjs";
import { ensureDependencies } from "./setup/dependencies.mjs";
import { isMain } from "./setup/main.mjs";
import { SetupError } from "./setup/run.mjs";
import { ensureTestHosts } from "./setup/test-hosts.mjs";

/** The repository's root folder. */
export const ROOT = fileURLToPath(new URL("..", import.meta.url)).replace(/[\\/]$/, "");

/** Does every step that is not done. Ends the process with the step's exit code (3: no adapter) when one fails. */
export async function setup({ forTests = false } = {}) {
  try {
    const major = Number(process.versions.node.split(".")[0]);
    if (major < 20) throw new SetupError(`Node.js ${process.versions.node} is too old; 20 or newer is needed`);
    await ensureDependencies(ROOT);
    await ensureBuild(ROOT);
    await ensureAdapter(ROOT);
    if (forTests) await ensureTestHosts(ROOT);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(error.message);
    process.exit(error.exitCode);
  }
}

if (isMain(import.meta.url)) await setup({ forTests: process.argv.includes("--test") });
