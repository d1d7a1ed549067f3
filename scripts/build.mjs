/** Builds with esbuild: the command line as one file, or, run in a package's folder, that package's `dist` with its declarations. */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { embedWgsl, KERNELS } from "./embed-wgsl.mjs";
import { isMain } from "./setup/main.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** Bundled CommonJS packages call `require` for Node's own modules. */
const REQUIRE =
  'import { createRequire as createRequireForBundle } from "node:module"; const require = createRequireForBundle(import.meta.url);';

/** Copies each package's `assets` to the command line's, where the bundle finds them by the same `new URL("../assets/…", import.meta.url)` as the package's own `src` and `dist`. */
function copyAssets(root) {
  const target = join(root, "apps", "cli", "assets");
  rmSync(target, { recursive: true, force: true });
  for (const name of readdirSync(join(root, "packages"))) {
    const assets = join(root, "packages", name, "assets");
    if (existsSync(assets)) cpSync(assets, target, { recursive: true, errorOnExist: true, force: false });
  }
}

/** Bundles `apps/cli/src/main.ts` and all it imports into `apps/cli/dist/refl.mjs`; packages that read files of their own (Dawn, the picture decoders) stay imports. */
export async function buildCli(root = ROOT) {
  embedWgsl(KERNELS);
  copyAssets(root);
  await build({
    absWorkingDir: root,
    entryPoints: ["apps/cli/src/main.ts"],
    outfile: "apps/cli/dist/refl.mjs",
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    conditions: ["source"],
    external: ["webgpu", "@jsquash/*"],
    banner: { js: REQUIRE },
    sourcemap: "linked",
    logLevel: "silent",
  });
}

/** Bundles each entry of the package in `folder` (its `exports`) to ES modules in `dist`, all dependencies left as imports, and writes the declarations. */
export async function buildPackage(folder) {
  if (basename(folder) === "kernels-wgsl") embedWgsl(KERNELS);
  const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const entries = Object.values(manifest.exports).map((entry) => entry.source);
  rmSync(join(folder, "dist"), { recursive: true, force: true });
  await build({
    absWorkingDir: folder,
    entryPoints: entries,
    outdir: "dist",
    bundle: true,
    splitting: true,
    platform: "neutral",
    format: "esm",
    target: "es2022",
    packages: "external",
    external: ["node:*"],
    sourcemap: "linked",
    logLevel: "silent",
  });
  const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
  execFileSync(process.execPath, [tsc, "-p", join(folder, "tsconfig.build.json")], { stdio: "inherit", cwd: folder });
}

if (isMain(import.meta.url)) {
  const folder = process.cwd();
  try {
    if (basename(folder) === "cli" && basename(dirname(folder)) === "apps") await buildCli();
    else if (existsSync(join(folder, "tsconfig.build.json"))) await buildPackage(folder);
    else throw new Error("Run this in the folder of a package or of apps/cli.");
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
