/** The few apt commands that the set-up gives. */
import { parsePolicy } from "./driver-plan.mjs";
import { capture, run, SetupError } from "./run.mjs";

const ENVIRONMENT = { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C.UTF-8" };
const OPTIONS = ["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3", "-qq"];

let updated = false;
let updateOutput = "";

/** Fetches the package lists, once per process unless `again`. A failure shows only when an installation fails too: one broken source need not matter. */
export async function aptUpdate({ again = false } = {}) {
  if (updated && !again) return;
  const { code, output } = await capture("apt-get", [...OPTIONS, "update"], { env: ENVIRONMENT });
  updated = true;
  updateOutput = code === 0 ? "" : output;
}

/** What apt would install for `name`, as `parsePolicy` gives it. */
export async function aptPolicy(name) {
  const { output } = await capture("apt-cache", ["policy", name], { env: ENVIRONMENT });
  return parsePolicy(output);
}

/** Runs `apt-get` with `args`; throws `SetupError` with its last lines. */
export async function aptInstall(args) {
  try {
    await run("apt-get", [...OPTIONS, ...args], { env: ENVIRONMENT });
  } catch (error) {
    if (updateOutput === "") throw error;
    throw new SetupError(`${error.message}\nBefore that "apt-get update" failed:\n${updateOutput.trimEnd()}`);
  }
}
