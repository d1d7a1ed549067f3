/** Makes the shipped models anew: `node scripts/make-models.mjs [task[/model]…]` writes packages/refl/assets/models/<task>/{base,blip,classifier}. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
import { embedWgsl, KERNELS } from "./embed-wgsl.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const bundle = join(root, ".cache", "make-models.mjs");

embedWgsl(KERNELS, { write: true });
await build({
  stdin: {
    contents: `export { createDevice } from "@refl/tensor"; export { nodeHost } from "@refl/tensor/node"; export { memoryFolder } from "@refl/models"; export { ship, SHIP_RECIPES } from "../../packages/refl/src/recipes/ship.ts";`,
    resolveDir: join(root, "apps", "cli"),
  },
  bundle: true,
  outfile: bundle,
  platform: "node",
  format: "esm",
  target: "node20",
  conditions: ["source"],
  external: ["webgpu"],
  absWorkingDir: root,
  nodePaths: [join(root, "node_modules")],
});
const { createDevice, nodeHost, memoryFolder, ship, SHIP_RECIPES } = await import(pathToFileURL(bundle).href);

const wanted = process.argv.slice(2);
const device = await createDevice({ host: nodeHost() });
console.log(
  `${device.adapter.description || device.adapter.device}${device.adapter.software ? " (software adapter)" : ""}`,
);
for (const task of Object.keys(SHIP_RECIPES)) {
  for (const model of ["base", "blip", "classifier"]) {
    if (wanted.length && !wanted.includes(task) && !wanted.includes(`${task}/${model}`)) continue;
    const files = new Map();
    const start = performance.now();
    const run = ship(task, model, device, memoryFolder(files, `${task}/${model}`));
    let next = await run.next();
    while (!next.done) {
      const { type, step, total, metrics } = next.value;
      if (type === "step" && (step % 50 === 0 || step === 1 || step === total)) {
        const shown = Object.entries(metrics).map(([name, value]) => `${name} ${value.toPrecision(4)}`);
        console.log(
          `${task}/${model} ${step}/${total} ${((performance.now() - start) / step).toFixed(0)} ms/step ${shown.join(" ")}`,
        );
      }
      next = await run.next();
    }
    const folder = join(root, "packages", "refl", "assets", "models", task, model);
    for (const [path, bytes] of files) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), bytes);
    }
    console.log(
      `${task}/${model}: ${JSON.stringify(next.value)} in ${((performance.now() - start) / 1000).toFixed(0)} s`,
    );
  }
}
device.dispose();
process.exit(0);
