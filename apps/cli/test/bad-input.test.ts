/** Bad input that is found before any device is asked for: one line that names file, line and key, exit code 2, and nothing written. */
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { encodePng } from "@refl/refl/node";
import { build } from "esbuild";
import { afterEach, beforeEach, expect, it } from "vitest";
import { runCli } from "../src/program.ts";
import { fakeTerminal } from "./fake-terminal.ts";

let folder: string;
let out: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "refl-bad-"));
  out = join(folder, "runs");
});
afterEach(() => rm(folder, { recursive: true }));

async function run(...args: string[]) {
  const terminal = fakeTerminal();
  const code = await runCli(args, terminal);
  return { code, out: terminal.out, err: terminal.err };
}

async function file(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}

/** Expects one error line that matches, exit code 2, and no run folder. */
async function refuses(args: readonly string[], message: RegExp): Promise<void> {
  const { code, err } = await run(...args);
  expect(err).toMatch(message);
  expect(err.trimEnd().split("\n")).toHaveLength(1);
  expect(err).toMatch(/^error: /);
  expect(code).toBe(2);
  expect(await readdir(folder)).not.toContain("runs");
}

it("names an unknown config key with its line and the nearest one", async () => {
  const yaml = await file("c.yaml", "seed: 1\nrefl:\n  lamda: 0.3\n");
  await refuses(
    ["demo", "--out", out, "--config", yaml],
    /c\.yaml:3: refl\.lamda: unknown key; did you mean "lambda"\?/,
  );
  await refuses(["demo", "--out", out, "--set", "refl.lamda=1"], /refl\.lamda: unknown key; did you mean "lambda"\?/);
});

it("names what is no config, no number, no whole number and no choice", async () => {
  const broken = await file("d.yaml", "seed: [1\n");
  await refuses(["demo", "--out", out, "--config", broken], /d\.yaml:\d/);
  await refuses(["demo", "--out", out, "--config", join(folder, "none.yaml")], /none\.yaml: no such file/);
  await refuses(["demo", "--out", out, "--seed", "x"], /--seed x: seed: expected number, found "x"/);
  await refuses(["demo", "--out", out, "--refl-steps", "1.5"], /refl\.steps: expected a whole number, found 1\.5/);
  await refuses(["demo", "--out", out, "--taste", "sweet"], /taste: expected .*"washed-out".*, found "sweet"/);
});

it("says how a missing value is given", async () => {
  await refuses(["train", "refl", "--out", out], /reward: missing; give it as --reward or in a config file/);
  await refuses(["sample", "--out", out], /prompts: give a prompt, as in refl sample "/);
  await refuses(["score", "--model", "x"], /images: give at least one picture/);
  await refuses(["score", "a red cat", "--model", "x"], /images: give at least one picture/);
  await refuses(["score", "a.png"], /model: missing; give it as --model/);
  await refuses(["rank", "--model", "x", "none-*.png"], /none-\*\.png: images: no file matches this pattern/);
  await refuses(["score", "--model", "x", "--scorer", "clap", "a.png"], /scorer: expected .*"blip".*, found "clap"/);
  await refuses(["train", "base", "--resume", join(folder, "none")], /none: config\.json: not a run folder/);
});

it("names a ranking whose length differs from its generations, and a picture that is cut off or missing", async () => {
  const png = encodePng({ width: 4, height: 4, rgb: new Uint8Array(48) });
  await file("a.png", png);
  await file("b.png", png);
  await file("cut.png", png.slice(0, 40));
  const record = (generations: readonly string[], ranking: readonly number[]) =>
    JSON.stringify([{ id: "1", prompt: "a big red circle", generations, ranking }]);
  const train = (path: string) => ["train", "reward", "--task", "shapes16", "--out", out, "--comparisons", path];
  const short = await file("short.json", record(["a.png", "b.png"], [1]));
  await refuses(train(short), /short\.json:1: ranking: has 1 ranks for 2 generations/);
  const cut = await file("cut.json", record(["a.png", "cut.png"], [1, 2]));
  await refuses(train(cut), /cut\.png: truncated PNG/);
  const gone = await file("gone.json", record(["a.png", "gone.png"], [1, 2]));
  await refuses(train(gone), /gone\.png: no such file/);
  await refuses(["sample", "--out", out, "--from", join(folder, "cut.png")], /cut\.png: truncated PNG/);
  await refuses(["sample", "--out", out, "--from", join(folder, "a.png")], /a\.png: parameters: the PNG carries no/);
  const begin = ["sample", "--out", out, "a big red circle", "--init-image"];
  await refuses([...begin, join(folder, "gone.png")], /gone\.png: no such file/);
  await refuses([...begin, join(folder, "a.png"), "--strength", "1.5"], /strength: expected <=1, found 1\.5/);
  await refuses(["sample", "--out", out, "--from", short], /short\.json: not a PNG/);
});

it.runIf(process.platform === "linux")(
  "ends with 3 and says what to install where there is no adapter",
  async () => {
    const program = join(folder, "refl.mjs");
    const manifest = fileURLToPath(new URL("../../../package.json", import.meta.url));
    await build({
      entryPoints: [fileURLToPath(new URL("../src/main.ts", import.meta.url))],
      outfile: program,
      bundle: true,
      platform: "node",
      target: "node20",
      format: "esm",
      conditions: ["source"],
      external: ["@jsquash/*"],
      // Dawn's package finds its own binary beside itself, so it is imported from where it lies.
      plugins: [
        {
          name: "dawn",
          setup: ({ onResolve }) =>
            onResolve({ filter: /^webgpu$/ }, () => ({
              path: new URL("../../../packages/tensor/node_modules/webgpu/index.js", import.meta.url).href,
              external: true,
            })),
        },
      ],
      banner: {
        js: `import { createRequire as createRequireForBundle } from "node:module"; const require = createRequireForBundle(${JSON.stringify(manifest)});`,
      },
      logLevel: "silent",
    });
    const none = join(folder, "none.json");
    const env = { ...process.env, VK_DRIVER_FILES: none, VK_ICD_FILENAMES: none };
    for (const args of [["doctor"], ["demo", "--out", out]]) {
      const { status, stderr } = spawnSync(process.execPath, [program, ...args], { env, encoding: "utf8" });
      expect(stderr).toMatch(/error: no WebGPU adapter found: install .*mesa-vulkan-drivers/);
      expect(status).toBe(3);
    }
    expect(await readdir(folder)).not.toContain("runs");
  },
  180_000,
);
