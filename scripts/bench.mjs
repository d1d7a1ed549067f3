/** `pnpm bench`: sets up, installs the peers at the first use, bundles the benchmark and runs it on the host asked for. */
import { spawnSync } from "node:child_process";
import { join, resolve } from "node:path";
import { prepareBench } from "./bench/build.mjs";
import { runChromium } from "./bench/chromium.mjs";
import { runDeno } from "./bench/deno.mjs";
import { ensurePeers } from "./setup/dependencies.mjs";
import { hostEnvironment } from "./setup/environment.mjs";
import { SetupError } from "./setup/run.mjs";
import { ROOT, setup } from "./setup.mjs";

const args = process.argv.slice(2).filter((arg) => arg !== "--");
const at = args.findIndex((arg) => arg === "--host" || arg.startsWith("--host="));
const host = at < 0 ? "node" : (args[at].split("=")[1] ?? args[at + 1]);

await setup();
try {
  await ensurePeers(ROOT);
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(error.message);
  process.exit(error.exitCode);
}
const folder = await prepareBench(ROOT);
if (host === "deno") process.exit(await runDeno(ROOT, folder, args));
if (host === "chromium") process.exit(await runChromium(ROOT, folder, args));
const { status } = spawnSync(process.execPath, ["--expose-gc", join(folder, "main.mjs"), ...args], {
  cwd: ROOT,
  env: { ...hostEnvironment(ROOT), REFL_BENCH_ROOT: resolve(ROOT) },
  stdio: "inherit",
});
process.exit(status ?? 1);
