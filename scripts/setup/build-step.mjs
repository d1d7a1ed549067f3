/** Builds the command line's bundle unless its sources are those of the last build. */
import { join, sep } from "node:path";
import { SetupError, step } from "./run.mjs";
import { hashFiles, listFiles, unlessStamped } from "./stamp.mjs";

const SOURCES = ["packages", "apps/cli/src", "scripts"];

function isInput(path) {
  const parts = path.split(sep);
  if (parts.some((part) => part === "node_modules" || part === "dist" || part === "test" || part === "runs"))
    return false;
  if (path.endsWith(".gen.ts")) return false;
  return parts[0] !== "scripts" || ["build.mjs", "embed-wgsl.mjs"].includes(parts[1]);
}

/** Embeds the kernels and bundles the command line, when needed. */
export async function ensureBuild(root) {
  const files = SOURCES.flatMap((folder) => listFiles(root, folder, isInput));
  const stamp = hashFiles(root, [...files, "pnpm-lock.yaml"]);
  const outputs = [join(root, "apps/cli/dist/refl.mjs"), join(root, "packages/kernels-wgsl/src/wgsl.gen.ts")];
  await unlessStamped(join(root, ".cache", "stamps", "build"), stamp, outputs, () =>
    step("Building the command line", async () => {
      const { buildCli } = await import("../build.mjs");
      await buildCli(root).catch((error) => {
        throw new SetupError(error.message);
      });
    }),
  );
}
