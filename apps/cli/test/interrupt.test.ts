/** Real signals to a real process: once finishes and saves, twice ends at once, both with 130. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, it } from "vitest";

let folder: string;
let program: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "refl-interrupt-"));
  program = join(folder, "work.mjs");
  await build({
    entryPoints: [fileURLToPath(new URL("./fixture/work.ts", import.meta.url))],
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

interface Ended {
  readonly code: number | null;
  readonly out: string;
}

/** Starts the program and calls back once it has printed its first step. */
function start(args: string[], onStep: (child: ChildProcess) => void): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "ignore"] });
    let out = "";
    child.stdout.on("data", (data: Buffer) => {
      if (out === "") onStep(child);
      out += data.toString();
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, out }));
  });
}

it.each(["SIGINT", "SIGTERM"] as const)("finishes and saves after one %s", async (signal) => {
  const mark = join(folder, signal);
  const { code, out } = await start([mark], (child) => child.kill(signal));
  expect(code).toBe(130);
  expect(existsSync(mark)).toBe(true);
  const events = out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(events.at(-2)).toEqual({ type: "checkpoint", path: mark });
  expect(events.at(-1)).toMatchObject({ type: "error", code: "interrupted", exitCode: 130 });
});

it("ends at once after two", async () => {
  const mark = join(folder, "twice");
  const { code } = await start([mark, "stubborn"], (child) => {
    child.kill("SIGINT");
    setTimeout(() => child.kill("SIGINT"), 200);
  });
  expect(code).toBe(130);
  expect(existsSync(mark)).toBe(false);
});
