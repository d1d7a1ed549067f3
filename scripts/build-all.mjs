/** `npm run build`: builds every package and the command line with turbo, its telemetry off and the pinned pnpm on its PATH. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
// turbo starts "pnpm" itself, so it needs the native program and not the script that npm links.
const scope = join(ROOT, ".cache", "pnpm", "node_modules", "@pnpm");
const folders = existsSync(scope) ? readdirSync(scope).map((name) => join(scope, name)) : [];
const turbo = join(ROOT, "node_modules", ".bin", "turbo");
const { status, error } = spawnSync(turbo, ["run", "build", ...process.argv.slice(2)], {
  cwd: ROOT,
  stdio: "inherit",
  env: { ...process.env, PATH: [...folders, process.env.PATH].join(delimiter), TURBO_TELEMETRY_DISABLED: "1" },
});
if (error) console.error(error.message);
process.exitCode = status ?? 1;
