/** Whole command lines: help, mistakes, JSON, and the data check, with their exit codes. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodePng } from "@refl/refl/node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCli } from "../src/program.ts";
import { fakeTerminal } from "./fake-terminal.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "refl-cli-"));
  const png = encodePng({ width: 4, height: 4, rgb: new Uint8Array(48) });
  for (const [name, bytes] of [
    ["good", png],
    ["bad", png.slice(0, 40)],
  ] as const) {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, "a.png"), bytes);
    await writeFile(join(folder, name, "captions.jsonl"), '{"file_name": "a.png", "text": "a red circle"}\n');
  }
});
afterAll(() => rm(folder, { recursive: true }));

async function run(...args: string[]) {
  const terminal = fakeTerminal();
  return { code: await runCli(args, terminal), ...terminal };
}

describe("refl", () => {
  it("tells its version and its help", async () => {
    expect(await run("--version")).toMatchObject({ code: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/), err: "" });
    const help = await run("--help");
    expect(help.code).toBe(0);
    for (const command of ["doctor", "data"]) expect(help.out).toContain(command);
    expect((await run("data", "check", "--help")).out).toContain("--json");
  });

  it("refuses unknown commands and options with the nearest name and exit code 2", async () => {
    expect(await run("doctr")).toMatchObject({ code: 2, err: expect.stringContaining("Did you mean doctor?") });
    expect(await run("data", "check", "--taks", "x", "y")).toMatchObject({
      code: 2,
      err: expect.stringContaining("Did you mean --task?"),
    });
    expect((await run("data", "check")).code).toBe(2);
    const json = await run("doctr", "--json");
    expect(JSON.parse(json.out)).toMatchObject({ type: "error", exitCode: 2 });
  });
});

describe("refl data check", () => {
  it("ends with 0 for good data, with 1 for broken data, which it names by file and line", async () => {
    expect(await run("data", "check", join(folder, "good"))).toMatchObject({ code: 0, err: "0 errors, 0 warnings\n" });
    const bad = await run("data", "check", join(folder, "bad"));
    expect(bad.code).toBe(1);
    expect(bad.out).toMatch(/captions\.jsonl:1: error: .*truncated PNG/);
  });

  it("prints findings and the result as JSON lines", async () => {
    const { code, out, err } = await run("data", "check", join(folder, "good"), join(folder, "bad"), "--json");
    const lines = out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(code).toBe(1);
    expect(err).toBe("");
    expect(lines[0]).toMatchObject({ type: "finding", severity: "error", line: 1 });
    expect(lines.at(-1)).toEqual({ type: "result", summary: { errors: 1, warnings: 0 } });
  });

  it("ends with 2 when a folder is not there", async () => {
    const none = await run("data", "check", join(folder, "none"));
    expect(none).toMatchObject({ code: 2, err: expect.stringMatching(/^error: .*no such folder\n$/) });
  });
});
