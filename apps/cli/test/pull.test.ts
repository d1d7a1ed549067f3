/** `refl pull` as command lines: what it prints, its events, its exit codes, two processes at once, and models by name in other commands. */
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Device } from "@refl/tensor";
import { build } from "esbuild";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { COMMIT, LoopbackHub, pseudoRandom, sha256 } from "../../../packages/models/test/hub/loopback-hub.ts";
import { jobContext } from "../src/job.ts";
import { runCli } from "../src/program.ts";
import { fakeTerminal } from "./fake-terminal.ts";

const BIG = pseudoRandom(2_000_000, 1);

let folder: string;
let hub: LoopbackHub;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "refl-pull-"));
  hub = await new LoopbackHub().start();
  hub.files.set("config.json", new TextEncoder().encode("{}\n"));
  hub.files.set("model.safetensors", BIG);
  for (const name of ["HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_TOKEN_PATH"]) vi.stubEnv(name, "");
  vi.stubEnv("HF_HOME", folder);
  vi.stubEnv("HF_ENDPOINT", hub.url);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await hub.stop();
  await rm(folder, { recursive: true });
});

async function run(...args: string[]) {
  const terminal = fakeTerminal();
  return { code: await runCli(args, terminal), ...terminal };
}

const snapshot = (): string => join(folder, "hub", "models--some--model", "snapshots", COMMIT);

describe("refl pull", () => {
  it("fetches, tells how far it is, and lists the files", async () => {
    const { code, out, err } = await run("pull", "some/model");
    expect(err).toMatch(/fetch: 2 files, 1\.9 MiB\n/);
    expect(err).toMatch(/fetch 1\.9 MiB\/1\.9 MiB/);
    expect(out).toContain(snapshot());
    expect(out).toMatch(/model\.safetensors +1\.9 MiB +fetched/);
    expect(code).toBe(0);
    expect(sha256(await readFile(join(snapshot(), "model.safetensors")))).toBe(sha256(BIG));
    expect((await run("pull", "some/model")).out).toMatch(/model\.safetensors +1\.9 MiB +was there/);
  });

  it("prints events as JSON, the last one telling every file's path", async () => {
    const { out, err } = await run("pull", "some/model@main", "*.safetensors", "--json");
    const events = out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(err).toBe("");
    expect(events[0]).toEqual({ type: "stage", stage: "pull", message: "1 file, 1.9 MiB" });
    const total = BIG.length;
    expect(events).toContainEqual({
      type: "step",
      stage: "pull",
      step: total,
      total,
      unit: "byte",
      metrics: { files: 1 },
    });
    const file = {
      file: "model.safetensors",
      path: join(snapshot(), "model.safetensors"),
      size: total,
      etag: sha256(BIG),
    };
    const summary = { model: "some/model", commit: COMMIT, folder: snapshot(), files: [{ ...file, state: "fetched" }] };
    expect(events.at(-1)).toEqual({ type: "result", summary });
  });

  it("takes its values from flags and files", async () => {
    const config = join(folder, "pull.yaml");
    await writeFile(
      config,
      `model: some/model\nendpoint: ${hub.url}\nexclude: ["*.safetensors"]\nlocalDir: ${join(folder, "mine")}\n`,
    );
    vi.stubEnv("HF_ENDPOINT", "");
    expect((await run("pull", "--config", config, "--revision", "v2")).code).toBe(0);
    expect((await readdir(join(folder, "mine"))).sort()).toEqual([".cache", "config.json"]);
    expect(hub.asked[0]!.path).toBe("/api/models/some/model/revision/v2");
    const dry = await run("pull", "some/model", "--endpoint", hub.url, "--include", "*.json", "--dry-run");
    expect(dry.out).toMatch(/config\.json +3 B +to be fetched/);
    expect((await readdir(folder)).sort()).toEqual(["mine", "pull.yaml"]);
  });

  it("ends with 2 and one line for what it cannot have", async () => {
    const refuses = async (args: string[], message: RegExp): Promise<void> => {
      const { code, err } = await run("pull", ...args);
      expect(err).toMatch(message);
      expect(err.trimEnd().split("\n").at(-1)).toMatch(/^error: /);
      expect(code).toBe(2);
    };
    await refuses([], /model: missing/);
    await refuses(["name"], /"name" is no model of a hub: expected owner\/name/);
    await refuses(["some/model@a", "--revision", "b"], /give one of them/);
    await refuses(["some/model", "none.bin"], /none\.bin: not on the hub/);
    await refuses(["some/model", "--offline"], /not in the cache/);
    await refuses(["some/model", "--endpoint", "ftp://x"], /must begin with https/);
    vi.stubEnv("HF_ENDPOINT", "");
    await refuses(["some/model"], /no hub is set: give its address as --endpoint, as HF_ENDPOINT/);
    expect(await readdir(folder)).toEqual([]);
  });

  it("ends with 130 when interrupted, and goes on the next time", async () => {
    hub.fault = ({ method, file }) => (method === "GET" && file === "model.safetensors" ? { slow: 60_000 } : undefined);
    const terminal = fakeTerminal();
    const work = runCli(["pull", "some/model"], terminal);
    await expect.poll(() => hub.of("GET", "model.safetensors").length).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 200));
    terminal.interrupt();
    expect(await work).toBe(130);
    hub.fault = () => undefined;
    expect((await run("pull", "some/model")).code).toBe(0);
    expect(hub.of("GET", "model.safetensors").at(-1)!.from).toBeGreaterThan(0);
  });
});

describe("models by name", () => {
  it("mean what lies in the cache, folder or file, and nothing is fetched", async () => {
    const { open, place } = jobContext({} as Device, null, new AbortController().signal);
    await expect(open("some/model")).rejects.toThrow(/no such file or folder.*`refl pull some\/model` fetches it/);
    await run("pull", "some/model", "model.safetensors");
    hub.asked.length = 0;
    expect((await open("some/model")).name).toBe(snapshot());
    expect(await (await open(`some/model@${COMMIT}`)).list()).toEqual(["model.safetensors"]);
    expect(await place!("some/model:model.safetensors")).toMatchObject({ file: "model.safetensors" });
    await expect(place!("some/model:config.json")).rejects.toThrow(/`refl pull some\/model config\.json` fetches it/);
    await expect(open("some/model@v3")).rejects.toThrow(/`refl pull some\/model@v3` fetches it/);
    expect(hub.asked).toEqual([]);
  });
});

describe("two processes", () => {
  it("pull the same files at once, each once, and one that is killed leaves nothing whole", async () => {
    const program = join(folder, "pull.mjs");
    await build({
      stdin: {
        contents: `import { parseModelId } from "@refl/models";
          import { hubSettings, pullModel } from "@refl/models/node";
          await pullModel(parseModelId("some/model"), { settings: await hubSettings() });`,
        resolveDir: fileURLToPath(new URL("..", import.meta.url)),
      },
      outfile: program,
      bundle: true,
      platform: "node",
      format: "esm",
      conditions: ["source"],
      logLevel: "silent",
    });
    const start = () => {
      const child = spawn(process.execPath, [program], { stdio: "ignore" });
      return { child, ended: new Promise<number | null>((resolve) => child.on("close", resolve)) };
    };
    const blobs = join(folder, "hub", "models--some--model", "blobs");
    await mkdir(blobs, { recursive: true });
    hub.fault = ({ method, file }) => (method === "GET" && file === "model.safetensors" ? { slow: 60_000 } : undefined);
    const killed = start();
    const written = async (): Promise<number> => {
      const partial = (await readdir(blobs)).find((name) => /refl-.*\.incomplete$/.test(name));
      return partial ? (await stat(join(blobs, partial))).size : 0;
    };
    await expect.poll(written, { timeout: 20_000 }).toBeGreaterThan(0);
    expect(hub.of("GET", "model.safetensors").length).toBe(1);
    killed.child.kill("SIGKILL");
    await killed.ended;
    expect(await readdir(blobs)).not.toContain(sha256(BIG));
    hub.fault = ({ method, file }) => (method === "GET" && file === "model.safetensors" ? { slow: 1500 } : undefined);
    const both = [start(), start()];
    expect(await Promise.all(both.map(({ ended }) => ended))).toEqual([0, 0]);
    expect(sha256(await readFile(join(snapshot(), "model.safetensors")))).toBe(sha256(BIG));
    expect((await readdir(blobs)).filter((name) => name.endsWith(".incomplete"))).toEqual([]);
    const [, ...later] = hub.of("GET", "model.safetensors");
    expect(later[0]!.from).toBeGreaterThan(0);
  });
});
