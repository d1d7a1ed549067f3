/** The further hosts that the tests run on: Chromium from the system's packages, Deno from the lock file. */
import { join } from "node:path";
import { aptInstall, aptPolicy, aptUpdate } from "./apt.mjs";
import { capture, findProgram, isRoot, step } from "./run.mjs";

/** The names under which a Chromium lies on the PATH. */
export const CHROMIUM_NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

async function ensureChromium() {
  if (findProgram(...CHROMIUM_NAMES) !== null) return;
  const skipped = "Chromium is not installed; its smoke tests will be skipped.";
  if (findProgram("apt-get") === null) return console.log(`${skipped} Install Chromium or Chrome to run them.`);
  if (!isRoot()) return console.log(`${skipped} To run them: apt-get install chromium (as root)`);
  await aptUpdate();
  if ((await aptPolicy("chromium")).candidate === null)
    return console.log(`${skipped} apt's sources have no package "chromium".`);
  await step("Installing Chromium for the browser tests", () =>
    aptInstall(["install", "-y", "--no-install-recommends", "chromium"]),
  );
}

async function checkDeno(root) {
  const { code, output } = await capture(join(root, "node_modules", ".bin", "deno"), ["--version"], { cwd: root });
  if (code !== 0)
    console.log(`Deno does not start here; its smoke tests will be skipped: ${output.trim().split("\n")[0]}`);
}

/** Installs Chromium where it is missing and can be had, and checks that Deno starts; says what the tests will have to skip. */
export async function ensureTestHosts(root) {
  await ensureChromium();
  await checkDeno(root);
}
