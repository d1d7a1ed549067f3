/** Checks the architecture's import rules: imports go down the floors only, Node stays in `*.node.ts`, and the training code cannot see the test split. */
import { existsSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, normalize, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { findImports, findProcessUses } from "./lint/imports.mjs";
import { isMain } from "./setup/main.mjs";
import { listFiles } from "./setup/stamp.mjs";

/** The packages' floors; `bench` may import any, and the apps stand beside each other. */
const FLOORS = {
  "packages/kernels-wgsl": 0,
  "packages/tensor": 1,
  "packages/autograd": 2,
  "packages/models": 3,
  "packages/refl": 4,
};
const APP_FLOOR = 5;
const NODE_MODULES = new Set(builtinModules.map((name) => name.replace(/^node:/, "")));
const TEST_SPLIT = /(?:^|\/)data\/splits\/test[^/]*(?:\/|$)/;
const TRAINING = "packages/refl/src/train/";

const posix = (path) => path.split(sep).join("/");

/** The package folder that a file belongs to (`packages/tensor`, `apps/cli`, `bench`), or null. */
function folderOf(file) {
  const [first, second] = file.split("/");
  if (first === "bench") return "bench";
  return (first === "packages" || first === "apps") && second !== undefined ? `${first}/${second}` : null;
}

function floorOf(folder) {
  return FLOORS[folder] ?? APP_FLOOR;
}

/** Whether a module may use Node: `node.ts`, `*.node.ts`, tests, the apps and the benchmarks. */
function mayUseNode(file) {
  const parts = file.split("/");
  return (
    parts[0] === "apps" ||
    parts[0] === "bench" ||
    parts.includes("test") ||
    /(?:^|[./])(?:node|test)\.[cm]?[jt]s$/.test(parts.at(-1))
  );
}

function readPackages(root) {
  const packages = new Map();
  for (const file of listFiles(root, "packages", (path) => /^packages[\\/][^\\/]+[\\/]package\.json$/.test(path))) {
    const manifest = JSON.parse(readFileSync(join(root, file), "utf8"));
    const exports = Object.fromEntries(
      Object.entries(manifest.exports ?? {}).map(([key, value]) => [key, value.source ?? value]),
    );
    packages.set(manifest.name, { folder: posix(dirname(file)), exports });
  }
  for (const file of listFiles(root, "apps", (path) => /^apps[\\/][^\\/]+[\\/]package\.json$/.test(path))) {
    const { name } = JSON.parse(readFileSync(join(root, file), "utf8"));
    packages.set(name, { folder: posix(dirname(file)), exports: {} });
  }
  return packages;
}

/** The workspace file that `specifier` in `file` names, as `{folder, path}` (path null when the package exports no such entry), or null for anything outside the workspace. */
function resolve(file, specifier, packages) {
  if (specifier.startsWith(".")) {
    const path = posix(normalize(join(dirname(file), specifier)));
    return { folder: folderOf(path), path };
  }
  const parts = specifier.split("/");
  const name = specifier.startsWith("@") ? parts.slice(0, 2).join("/") : parts[0];
  const target = packages.get(name);
  if (target === undefined) return null;
  const rest = specifier.slice(name.length);
  const entry = target.exports[`.${rest}`];
  return { folder: target.folder, path: entry === undefined ? null : posix(normalize(join(target.folder, entry))) };
}

function checkImport(file, { specifier, line }, target) {
  const where = `${file}:${line}`;
  const builtin = specifier.startsWith("node:") || NODE_MODULES.has(specifier.split("/")[0]);
  if (builtin) {
    return mayUseNode(file) ? [] : [`${where}: imports "${specifier}"; only *.node.ts modules may use Node`];
  }
  if (target === null) return [];
  const from = folderOf(file);
  const problems = [];
  if (target.folder !== from) {
    const inSource = file.startsWith(`${from}/src/`);
    if (target.folder === null || target.folder === "bench") {
      problems.push(`${where}: imports "${specifier}", which lies outside the packages`);
    } else if (from !== "bench" && floorOf(target.folder) >= floorOf(from)) {
      const [own, its] = [floorOf(from), floorOf(target.folder)];
      problems.push(
        `${where}: imports "${specifier}" (floor ${its}) from floor ${own}; imports go down the floors only`,
      );
    } else if (specifier.startsWith(".") && inSource) {
      problems.push(`${where}: imports "${specifier}" by path; name the package instead`);
    }
  }
  if (target.path !== null && /(?:^|[./])node\.ts$/.test(target.path) && !mayUseNode(file)) {
    problems.push(`${where}: imports "${specifier}", a Node module; only *.node.ts modules may`);
  }
  return problems;
}

/** Follows imports from the training code; each reached module of the test split is one problem, with the way there. */
function checkTestSplit(graph) {
  const problems = [];
  const queue = [...graph.keys()].filter((file) => file.startsWith(TRAINING));
  const cameFrom = new Map(queue.map((file) => [file, null]));
  for (const file of queue) {
    for (const target of graph.get(file) ?? []) {
      if (cameFrom.has(target)) continue;
      cameFrom.set(target, file);
      if (!TEST_SPLIT.test(target)) {
        queue.push(target);
        continue;
      }
      const chain = [];
      for (let step = target; step !== null; step = cameFrom.get(step)) chain.unshift(step);
      problems.push(`${chain[0]}: the training code reaches the test split: ${chain.join(" → ")}`);
    }
  }
  return problems;
}

/** Checks the workspace at `root`. Returns `{files, problems}`: how many files were read and a line for each violation. */
export function checkFloors(root) {
  const isCode = (path) => /\.[cm]?tsx?$/.test(path) && !/(?:^|[\\/])(?:node_modules|dist)[\\/]/.test(path);
  const files = ["packages", "apps", "bench"].flatMap((folder) => listFiles(root, folder, isCode)).map(posix);
  const packages = readPackages(root);
  const graph = new Map();
  const problems = [];
  for (const file of files.sort()) {
    const text = readFileSync(join(root, file), "utf8");
    const targets = [];
    for (const found of findImports(text)) {
      const target = resolve(file, found.specifier, packages);
      problems.push(...checkImport(file, found, target));
      if (target?.path) targets.push(target.path);
    }
    graph.set(file, targets);
    if (mayUseNode(file)) continue;
    for (const line of findProcessUses(text)) {
      problems.push(`${file}:${line}: uses "process"; only *.node.ts modules may use Node`);
    }
  }
  problems.push(...checkTestSplit(graph));
  return { files: files.length, problems };
}

if (isMain(import.meta.url)) {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const { files, problems } = checkFloors(root);
  for (const problem of problems) console.error(problem);
  if (files === 0 || !existsSync(join(root, "packages")))
    console.error(`${relative(".", root) || "."}: no packages found`);
  if (problems.length > 0 || files === 0) process.exitCode = 1;
}
