/** A process that is killed while it writes: after it, every checkpoint is whole and the metrics can be gone on with. */
import { spawn } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type ModelFolder, readAll } from "@refl/models";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createRunFolder, openRunFolder } from "../../src/run/folder.node.ts";

let folder: string;
let program: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "refl-kill-"));
  program = join(folder, "checkpoints.mjs");
  await build({
    entryPoints: [fileURLToPath(new URL("./fixture/checkpoints.ts", import.meta.url))],
    outfile: program,
    bundle: true,
    platform: "node",
    format: "esm",
    conditions: ["source"],
    external: ["webgpu", "@jsquash/*"],
    banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
    logLevel: "silent",
  });
});
afterAll(() => rm(folder, { recursive: true }));

/** Starts the program and kills it some milliseconds after its first checkpoint. */
function killAfter(milliseconds: number, location: string): Promise<NodeJS.Signals | null> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, location], { stdio: ["ignore", "pipe", "inherit"] });
    child.stdout.once("data", () => setTimeout(() => child.kill("SIGKILL"), milliseconds));
    child.on("error", reject);
    child.on("close", (_, signal) => resolve(signal));
  });
}

async function bytesOf(folder: ModelFolder, path: string): Promise<Uint8Array> {
  const source = await folder.open(path);
  try {
    return await readAll(source);
  } finally {
    await source.close();
  }
}

it("leaves whole checkpoints whenever it is killed", async () => {
  const { location } = await createRunFolder(folder, "run", {});
  for (const milliseconds of [0, 3, 7, 12, 20, 33, 54]) {
    expect(await killAfter(milliseconds, location)).toBe("SIGKILL");
    const run = await openRunFolder(location);
    const names = (await readdir(join(location, "checkpoints"))).filter((name) => name.startsWith("step-"));
    for (const name of names) {
      const step = Number(name.slice(5));
      const checkpoint = await run.openCheckpoint({ step, path: join(location, "checkpoints", name) });
      expect(await checkpoint.list()).toEqual(["a", "b/c"]);
      const [a, c] = [await bytesOf(checkpoint, "a"), await bytesOf(checkpoint, "b/c")];
      expect(a).toHaveLength(100_000);
      expect(new Set(a)).toEqual(new Set([a[0]!]));
      expect(c).toEqual(a);
    }
    await run.truncateMetrics("refl", 1);
    expect(await readdir(location)).toEqual(["checkpoints", "config.json", "metrics.jsonl"]);
  }
});
