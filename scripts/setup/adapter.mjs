/** Makes sure that Dawn finds a WebGPU adapter, installing Mesa's software Vulkan driver where that is possible and needed. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { aptInstall, aptPolicy, aptUpdate } from "./apt.mjs";
import { readSources } from "./apt-sources.mjs";
import {
  installArguments,
  OLDEST_MESA,
  parseOsRelease,
  planCommands,
  planDriver,
  SOURCE_FILE,
} from "./driver-plan.mjs";
import { hostEnvironment } from "./environment.mjs";
import { capture, findProgram, isRoot, SetupError, step } from "./run.mjs";

const DRIVER = "mesa-vulkan-drivers";
/** The exit code that says "no adapter". */
export const NO_ADAPTER = 3;

/** Asks for an adapter in a child process. Resolves to `{info, output}`; `info` is null when there is none or the driver crashed. */
export async function probeAdapter(root) {
  const script = join(root, "scripts", "setup", "probe-adapter.mjs");
  const { code, output } = await capture(process.execPath, [script], {
    cwd: root,
    env: hostEnvironment(root),
    timeout: 120_000,
  });
  const line = output
    .split("\n")
    .reverse()
    .find((text) => text === "null" || text.startsWith("{"));
  return { info: code === 0 && line !== undefined ? JSON.parse(line) : null, output };
}

async function currentPlan() {
  const osRelease = existsSync("/etc/os-release") ? parseOsRelease(readFileSync("/etc/os-release", "utf8")) : {};
  return planDriver({ policy: await aptPolicy(DRIVER), osRelease, sources: readSources("/etc/apt") });
}

function withoutApt() {
  return [
    "No WebGPU adapter was found. Install a GPU driver with Vulkan support,",
    `or Mesa's software driver (lavapipe) ${OLDEST_MESA} or newer together with the Vulkan loader, for example:`,
    "",
    "  dnf install mesa-vulkan-drivers vulkan-loader",
    "  pacman -S vulkan-swrast vulkan-icd-loader",
    "  apk add mesa-vulkan-swrast vulkan-loader",
    "",
    "Then give the same command again.",
  ].join("\n");
}

function withoutRoot(plan) {
  const sudo = findProgram("sudo") !== null;
  return [
    "No WebGPU adapter was found, and installing Mesa's software driver needs root.",
    ...(plan.problem === null
      ? [`Type ${sudo ? "this" : "this as root"}:`, "", ...planCommands(plan, { sudo }).map((line) => `  ${line}`), ""]
      : [`${plan.problem}.`]),
    "Then give the same command again.",
  ].join("\n");
}

async function install() {
  await aptUpdate();
  let plan = await currentPlan();
  if (plan.problem === null && plan.source !== null) {
    writeFileSync(SOURCE_FILE, plan.source, { mode: 0o644 });
    await aptUpdate({ again: true });
    plan = await currentPlan();
  }
  if (plan.problem !== null) throw new SetupError(`No WebGPU adapter was found: ${plan.problem}.`, NO_ADAPTER);
  await aptInstall(installArguments(plan));
}

/** Resolves once Dawn finds an adapter. Throws `SetupError` with exit code 3 and what to type when it finds none and none can be installed. */
export async function ensureAdapter(root) {
  if ((await probeAdapter(root)).info !== null) return;
  if (process.platform !== "linux") {
    throw new SetupError("No WebGPU adapter was found: this machine has no GPU driver that Dawn can use.", NO_ADAPTER);
  }
  if (findProgram("apt-get") === null) throw new SetupError(withoutApt(), NO_ADAPTER);
  if (!isRoot()) throw new SetupError(withoutRoot(await currentPlan()), NO_ADAPTER);
  await step("Installing Mesa's software Vulkan driver", install);
  const { info, output } = await probeAdapter(root);
  if (info !== null) return;
  const limits = ["VK_ICD_FILENAMES", "VK_DRIVER_FILES", "VK_LOADER_DRIVERS_SELECT"].filter(
    (name) => process.env[name],
  );
  throw new SetupError(
    [
      "Mesa's software Vulkan driver is installed, and still Dawn finds no WebGPU adapter.",
      ...limits.map((name) => `${name} is set and may hide it: ${process.env[name]}`),
      output.trim(),
    ].join("\n"),
    NO_ADAPTER,
  );
}
