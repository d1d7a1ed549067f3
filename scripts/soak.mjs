/** `pnpm soak [steps]`: the soak test's training loop for 20,000 steps, or as many as said (docs/testing.md). */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { hostEnvironment } from "./setup/environment.mjs";
import { ROOT } from "./setup.mjs";

const steps = Number(process.argv[2] ?? 20_000);
if (!Number.isInteger(steps) || steps < 100 || steps % 100) {
  console.error("soak: the number of steps must be a multiple of 100");
  process.exit(2);
}
const vitest = join(ROOT, "node_modules/vitest/vitest.mjs");
const file = "packages/autograd/test/soak.gpu.test.ts";
const { status } = spawnSync(process.execPath, [vitest, "run", "--project", "gpu", file], {
  cwd: ROOT,
  env: { ...hostEnvironment(ROOT), SOAK_STEPS: String(steps) },
  stdio: "inherit",
});
process.exit(status ?? 1);
