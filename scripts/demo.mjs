/** `npm run demo`: the set-up, then `refl demo` with the flags given. */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { join } from "node:path";
import { hostEnvironment } from "./setup/environment.mjs";
import { ROOT, setup } from "./setup.mjs";

await setup();
const child = spawn(process.execPath, [join(ROOT, "apps/cli/dist/refl.mjs"), "demo", ...process.argv.slice(2)], {
  stdio: "inherit",
  env: hostEnvironment(ROOT),
});
// A terminal sends Ctrl-C to both processes; the demo itself decides how to end, and this one waits for it.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => child.kill("SIGTERM"));
child.on("close", (code, signal) => {
  process.exitCode = code ?? 128 + (constants.signals[signal] ?? 0);
});
