/** Test projects: `cpu` runs files in parallel; `gpu` runs `*.gpu.test.ts` in one process (`npm test` in a few, one after the other), so that one device and its pipelines serve many files. */
import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { embedWgsl, KERNELS } from "./scripts/embed-wgsl.mjs";
import { shaderCacheFolder } from "./scripts/setup/environment.mjs";
import { ROOT } from "./scripts/setup.mjs";

embedWgsl(KERNELS);

const resolve = { conditions: ["source", "module", "import", "default"] };
const ssr = { resolve: { conditions: ["source", "module", "import", "default"] } };

export default defineConfig({
  test: {
    projects: [
      {
        resolve,
        ssr,
        test: {
          name: "cpu",
          include: ["{packages,apps,bench}/**/test/**/*.test.ts", "scripts/test/*.test.mjs"],
          exclude: ["**/*.gpu.test.ts", "**/node_modules/**"],
          pool: "forks",
          // vitest would leave one core idle, which is half of a small machine.
          maxWorkers: availableParallelism(),
          testTimeout: 60_000,
        },
      },
      {
        resolve,
        ssr,
        test: {
          name: "gpu",
          include: ["{packages,apps,bench}/**/test/**/*.gpu.test.ts"],
          exclude: ["**/node_modules/**"],
          pool: "forks",
          maxWorkers: 1,
          isolate: false,
          fileParallelism: false,
          env: { MESA_SHADER_CACHE_DIR: shaderCacheFolder(ROOT) },
          testTimeout: 180_000,
          hookTimeout: 180_000,
        },
      },
    ],
  },
});
