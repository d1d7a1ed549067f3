/** `pnpm bench:bundle`: one archive that runs the smoke tests, the benchmark and the command line on a bare x86-64 Linux machine with a GPU driver and no network. */
import { chmodSync, cpSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { buildCli } from "../build.mjs";
import { ensurePeers, ensureRuntime } from "../setup/dependencies.mjs";
import { capture, findProgram, run, SetupError } from "../setup/run.mjs";
import { ROOT, setup } from "../setup.mjs";
import { prepareBench } from "./build.mjs";

const NAME = "refl-bench-linux-x64";
/** Uploading more than this to a rented machine is a nuisance. */
const LIMIT = 60e6;

const SCRIPT = `#!/bin/sh
# Runs the smoke tests, the benchmark or the command line with what lies beside this file:
#   ./run.sh smoke | bench [options] | cli [command …] | doctor
set -e
here=$(cd "$(dirname "$0")" && pwd)
export LD_LIBRARY_PATH="$here/lib\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# A bare machine may lack the C++ runtime; a newer one than ours must not be hidden by it.
if ! ldconfig -p 2>/dev/null | grep -q 'libstdc++.so.6'; then export LD_LIBRARY_PATH="$LD_LIBRARY_PATH:$here/lib/fallback"; fi
export MESA_SHADER_CACHE_DIR="\${MESA_SHADER_CACHE_DIR:-$here/cache/mesa}"
export XDG_RUNTIME_DIR="\${XDG_RUNTIME_DIR:-$here/cache/runtime}"
mkdir -p "$MESA_SHADER_CACHE_DIR" "$XDG_RUNTIME_DIR"
chmod 700 "$XDG_RUNTIME_DIR"
# Containers often have NVIDIA's driver without the file by which the Vulkan loader finds it.
if [ -z "$VK_DRIVER_FILES$VK_ICD_FILENAMES" ] && ldconfig -p 2>/dev/null | grep -q 'libGLX_nvidia.so.0' \\
  && ! ls /usr/share/vulkan/icd.d/nvidia*.json /etc/vulkan/icd.d/nvidia*.json >/dev/null 2>&1; then
  export VK_DRIVER_FILES="$here/lib/nvidia_icd.json"
fi
command=\${1:-bench}
[ $# -gt 0 ] && shift
export REFL_BENCH_PEERS="$here/bench/peers"
case "$command" in
  smoke) exec "$here/node" "$here/bench/smoke.mjs" "$@" ;;
  bench) exec "$here/node" --expose-gc "$here/bench/main.mjs" --json results/node.json "$@" ;;
  doctor) exec "$here/node" "$here/cli/dist/refl.mjs" doctor "$@" ;;
  cli) exec "$here/node" "$here/cli/dist/refl.mjs" "$@" ;;
  *) echo "run.sh: unknown command $command" >&2; exit 2 ;;
esac
`;

const README = `What is in here and how to use it
=================================

Needs: x86-64 Linux with glibc 2.28 or newer and the driver of a GPU (NVIDIA, AMD or Intel). No network, no root, no other packages.

  ./run.sh doctor          which adapter is found, and a first product on it
  ./run.sh smoke           forward and backward of every op against float64, on both tiers
  ./run.sh bench           the benchmark: this engine and its peers on the same adapter; results/node.json and .html
  ./run.sh bench --help    its options
  ./run.sh cli --help      the command line: training, sampling and scoring without a screen

NVIDIA in a container: start it with NVIDIA_DRIVER_CAPABILITIES=all, so that the Vulkan part of the driver is there.
Licences: licenses/.
`;

const NVIDIA_ICD = { file_format_version: "1.0.0", ICD: { library_path: "libGLX_nvidia.so.0", api_version: "1.3.0" } };

/** Takes the files whose names begin with one of `names` from a Debian package of the machine's own sources. */
async function debianLibrary(pkg, names, scratch, target) {
  const folder = join(scratch, pkg);
  mkdirSync(folder, { recursive: true });
  // apt's sandbox user cannot write to a folder of ours, so apt says that it goes without.
  await run("apt-get", ["download", pkg], { cwd: folder });
  const deb = readdirSync(folder).find((file) => file.endsWith(".deb"));
  await run("dpkg-deb", ["-x", deb, "files"], { cwd: folder });
  const found = readdirSync(join(folder, "files"), { recursive: true, withFileTypes: true });
  mkdirSync(target, { recursive: true });
  for (const name of names) {
    const real = found.find((entry) => entry.isFile() && entry.name.startsWith(name));
    if (!real) throw new SetupError(`${pkg}: holds no ${name}`);
    cpSync(join(real.parentPath ?? real.path, real.name), join(target, name));
  }
  const license = found.find((entry) => entry.isFile() && entry.name === "copyright");
  if (license) cpSync(join(license.parentPath ?? license.path, license.name), join(target, `${pkg}.copyright`));
}

async function bundleSmoke(file) {
  const contents = [
    'import { create, globals } from "webgpu";',
    'import { smoke } from "./packages/autograd/test/smoke.ts";',
    "Object.assign(globalThis, globals);",
    'Object.defineProperty(globalThis, "navigator", { value: { gpu: create([]), userAgent: "node" }, configurable: true });',
    "const reports = await smoke();",
    "for (const { tier, adapter, passed, failed, failures } of reports) {",
    "  console.log(`${tier} tier, ${adapter.vendor} ${adapter.device} ${adapter.description}: ${passed} passed, ${failed} failed`);",
    "  for (const failure of failures) console.log(`  ${failure}`);",
    "}",
    "process.exit(reports.some(({ failed }) => failed > 0) ? 1 : 0);",
  ].join("\n");
  await build({
    stdin: { contents, resolveDir: ROOT },
    outfile: file,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    conditions: ["source"],
    external: ["webgpu"],
    logLevel: "error",
  });
}

/** Copies the packages that the bundles leave as imports. */
function copyPackages(target) {
  const dawn = join(ROOT, "bench", "node_modules", "webgpu");
  for (const file of ["index.js", "package.json", "LICENSE.md", join("dist", "linux-x64", "dawn.node")])
    cpSync(join(dawn, file), join(target, "webgpu", file), { dereference: true });
  const jsquash = join(ROOT, "packages", "refl", "node_modules", "@jsquash");
  for (const name of readdirSync(jsquash))
    cpSync(join(jsquash, name), join(target, "@jsquash", name), { recursive: true, dereference: true });
}

async function pack() {
  await setup();
  await ensurePeers(ROOT);
  const runtime = await ensureRuntime(ROOT);
  for (const program of ["apt-get", "dpkg-deb", "tar"])
    if (findProgram(program) === null)
      throw new SetupError(`bench:bundle needs ${program}: run it on Debian or Ubuntu, or in a container of theirs`);
  const built = await prepareBench(ROOT);
  await buildCli(ROOT);
  const scratch = join(ROOT, ".cache", "bundle");
  const folder = join(scratch, NAME);
  rmSync(scratch, { recursive: true, force: true });
  mkdirSync(join(folder, "licenses"), { recursive: true });

  cpSync(join(runtime, "bin", "node"), join(folder, "node"), { dereference: true });
  cpSync(join(runtime, "LICENSE"), join(folder, "licenses", "node"));
  // Symbols are a tenth of the archive and of no use there.
  if (findProgram("strip")) await run("strip", [join(folder, "node")]);
  const lib = join(folder, "lib");
  await debianLibrary("libvulkan1", ["libvulkan.so.1"], scratch, lib);
  await debianLibrary("libstdc++6", ["libstdc++.so.6"], scratch, join(lib, "fallback"));
  await debianLibrary("libgcc-s1", ["libgcc_s.so.1"], scratch, join(lib, "fallback"));
  writeFileSync(join(lib, "nvidia_icd.json"), JSON.stringify(NVIDIA_ICD));

  for (const name of readdirSync(built))
    if (/^(main|training|host|start)\.mjs$/.test(name)) cpSync(join(built, name), join(folder, "bench", name));
  cpSync(join(built, "peers"), join(folder, "bench", "peers"), { recursive: true });
  await bundleSmoke(join(folder, "bench", "smoke.mjs"));
  cpSync(join(ROOT, "apps", "cli", "dist"), join(folder, "cli", "dist"), {
    recursive: true,
    filter: (path) => !path.endsWith(".map"),
  });
  cpSync(join(ROOT, "apps", "cli", "assets"), join(folder, "cli", "assets"), { recursive: true });
  copyPackages(join(folder, "node_modules"));
  cpSync(join(ROOT, "LICENSE"), join(folder, "licenses", "refl"));
  cpSync(join(ROOT, "NOTICE"), join(folder, "licenses", "refl-notice"));
  writeFileSync(join(folder, "run.sh"), SCRIPT);
  writeFileSync(join(folder, "README.txt"), README);
  for (const file of ["run.sh", "node"]) chmodSync(join(folder, file), 0o755);

  const archive = join(ROOT, "bench", "results", `${NAME}.tar.gz`);
  mkdirSync(join(ROOT, "bench", "results"), { recursive: true });
  await run("tar", ["--owner=0", "--group=0", "-I", "gzip -9", "-cf", archive, NAME], { cwd: scratch });
  const bytes = statSync(archive).size;
  console.log(`${archive}: ${(bytes / 1e6).toFixed(1)} MB`);
  if (bytes > LIMIT) throw new SetupError(`the archive is larger than ${LIMIT / 1e6} MB`);
  const { code, output } = await capture(join(folder, "run.sh"), ["bench", "--help"], { env: {} });
  if (code !== 0) throw new SetupError(`the packed benchmark does not start:\n${output}`);
}

try {
  await pack();
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(error.message);
  process.exitCode = error.exitCode;
}
