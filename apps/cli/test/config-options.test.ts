/** Flags made from config schemas: what the command line gives, in which order, and what it refuses. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ConfigDefinition, sampleConfig, trainBaseConfig, trainReflConfig } from "@refl/refl";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { addConfigOptions, readConfig } from "../src/config-options.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "refl-config-"));
  await writeFile(join(folder, "a.yaml"), "steps: 10\nlr: 1e-4\nema:\n  decay: 0.5\n");
  await writeFile(join(folder, "bad.yaml"), "steps: 10\nlearnrate: 1\n");
  await writeFile(join(folder, "config.json"), JSON.stringify({ steps: 7, seed: 3, batchSize: 2 }));
});
afterAll(() => rm(folder, { recursive: true }));

async function read(
  definition: ConfigDefinition,
  args: string[],
  extra: Record<string, unknown> = {},
): Promise<unknown> {
  const command = new Command("test").exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} });
  command.argument("[rest...]");
  const flags = addConfigOptions(command, definition, { resume: true });
  command.action(() => {});
  await command.parseAsync(args, { from: "user" });
  return readConfig(definition, flags, { over: extra });
}

describe("readConfig", () => {
  it("lays flags over the config file over the resumed run", async () => {
    const args = ["--resume", folder, "--config", join(folder, "a.yaml"), "--steps", "20"];
    expect(await read(trainBaseConfig, args)).toMatchObject({
      steps: 20,
      lr: 1e-4,
      ema: { decay: 0.5 },
      seed: 3,
      batchSize: 2,
    });
  });

  it("takes the last of two flags for one value, in whatever form they come", async () => {
    expect(await read(trainBaseConfig, ["--steps", "5", "--set", "steps=6"])).toMatchObject({ steps: 6 });
    expect(await read(trainBaseConfig, ["--set", "steps=6", "--steps=5"])).toMatchObject({ steps: 5 });
  });

  it("knows nested, boolean and list flags, and null", async () => {
    const refl = await read(trainReflConfig, [
      "--reward",
      "r",
      "--lora-rank",
      "8",
      "--no-control",
      "--early-stop-patience",
      "9",
    ]);
    expect(refl).toMatchObject({ lora: { rank: 8 }, control: false, earlyStop: { everySteps: 20, patience: 9 } });
    expect(await read(trainReflConfig, ["--reward", "r", "--set", "earlyStop=null"])).toMatchObject({
      earlyStop: null,
    });
    expect(await read(sampleConfig, ["--prompts", "a", "--prompts", "b c"])).toMatchObject({ prompts: ["a", "b c"] });
    expect(await read(sampleConfig, [], { prompts: ["x"] })).toMatchObject({ prompts: ["x"] });
  });

  it("names the flag, or the file and line, of a mistake", async () => {
    await expect(read(trainBaseConfig, ["--steps", "many"])).rejects.toThrow(
      '--steps many: steps: expected number, found "many"',
    );
    await expect(read(trainBaseConfig, ["--config", join(folder, "bad.yaml")])).rejects.toThrow(
      /bad\.yaml:2: learnrate: unknown key/,
    );
    await expect(read(trainBaseConfig, ["--set", "stpes=1"])).rejects.toThrow(/did you mean "steps"/);
    await expect(read(trainBaseConfig, ["--stpes", "1"])).rejects.toThrow(
      /unknown option '--stpes'\n\(Did you mean --steps/,
    );
    await expect(read(trainBaseConfig, ["--config", "none.yaml"])).rejects.toMatchObject({
      code: "storage",
      exitCode: 2,
    });
    await expect(read(trainBaseConfig, ["--resume", tmpdir()])).rejects.toThrow(/not a run folder/);
  });
});
