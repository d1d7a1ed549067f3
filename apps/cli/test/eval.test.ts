/** `refl eval rankings` and `refl eval models` on scores that were written before, which need no device, and what they refuse. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodePng } from "@refl/refl/node";
import { afterAll, beforeAll, expect, it } from "vitest";
import { runCli } from "../src/program.ts";
import { fakeTerminal } from "./fake-terminal.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "refl-eval-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function run(...args: string[]) {
  const terminal = fakeTerminal();
  const code = await runCli(["eval", ...args], terminal);
  return { code, out: terminal.out, err: terminal.err };
}

async function json(name: string, value: unknown): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, JSON.stringify(value));
  return path;
}

it("tells how scores agree with rankings", async () => {
  const generations = ["a.png", "b.png", "c.png"];
  const comparisons = await json("c.json", [
    { id: "0", prompt: "a cat", generations, ranking: [1, 2, 3] },
    { id: "1", prompt: "a dog", generations, ranking: [3, 1, 1] },
  ]);
  const scores = await json("s.json", [
    { id: "1", prompt: "a dog", rewards: [0, 1, 0] },
    { id: "0", prompt: "a cat", rewards: [3, 2, 1] },
  ]);
  const out = join(folder, "result.json");
  const [saved, interval] = [join(folder, "saved.json"), ["--interval", "bootstrap", "--resamples", "50"]];
  const found = await run(
    "rankings",
    comparisons,
    "--scores",
    scores,
    "--save-scores",
    saved,
    "--out",
    out,
    ...interval,
  );
  expect(found.code).toBe(0);
  expect(found.out).toMatch(/Agreement with 2 rankings, in percent/);
  expect(found.out).toMatch(
    /preference accuracy +80\.00 \[\d+\.\d\d, \d+\.\d\d\] +5 strict pairs, 1 tied ones left out/,
  );
  expect(JSON.parse(await readFile(out, "utf8"))).toMatchObject({
    pairs: 5,
    ties: 1,
    config: { interval: "bootstrap" },
  });
  expect(JSON.parse(await readFile(saved, "utf8"))).toEqual([
    { id: "0", prompt: "a cat", rewards: [3, 2, 1] },
    { id: "1", prompt: "a dog", rewards: [0, 1, 0] },
  ]);
  const events = await run("rankings", comparisons, "--scores", saved, "--json");
  expect(JSON.parse(events.out.trim().split("\n").at(-1)!)).toMatchObject({ type: "result", summary: { pairs: 5 } });
});

it("ranks models by their scores beside people", async () => {
  const model = async (name: string, first: number) =>
    `${name}=${await json(`${name}.json`, [{ id: "0", prompt: "x", rewards: [first, first + 1] }])}`;
  const models = [await model("b", 1), await model("a", 2)];
  const { code, out } = await run("models", ...models, "--human-ranks", "1,2");
  expect(code).toBe(0);
  expect(out).toMatch(/Models \(Spearman to people's ranks: -1\.00\)/);
  expect(out.indexOf("\na ")).toBeLessThan(out.indexOf("\nb "));
  const pictures = join(folder, "pictures");
  await mkdir(pictures);
  await writeFile(join(pictures, "07_1.png"), encodePng({ width: 1, height: 1, rgb: new Uint8Array(3) }));
  const prompts = await json("prompts.json", [{ id: "08", prompt: "a cat" }]);
  for (const [args, message] of [
    [["models"], /models: give at least one folder of pictures or file of scores/],
    [["models", ...models, "--human-ranks", "first"], /humanRanks: expected ranks with commas between/],
    [["models", ...models, "--human-ranks", "1,2,3"], /humanRanks: 3 ranks for 2 models/],
    [["models", join(folder, "none")], /none: no such file or folder/],
    [["models", pictures], /no generation parameters/],
    [["models", pictures, "--prompts", prompts], /07_1\.png: prompt: .*prompts\.json has no prompt with the id "07"/],
    [
      ["models", pictures, "--prompts", await json("p2.json", [{ id: "07", prompt: "a cat" }])],
      /model: missing; name the scorer/,
    ],
    [["rankings"], /comparisons: missing/],
    [["rankings", join(folder, "none.json"), "--model", "x"], /none\.json: no such file/],
    [["rankings", join(folder, "c.json")], /model: missing; name the scorer with --model, or scores with --scores/],
    [
      ["rankings", join(folder, "c.json"), "--scores", join(folder, "b.json")],
      /has no scores of the item "1"|has 2 scores/,
    ],
    [["rankings", join(folder, "c.json"), "--confidence", "1"], /confidence: expected <1, found 1/],
  ] as const) {
    const refused = await run(...args);
    expect(refused.err).toMatch(message);
    expect(refused.code).toBe(2);
  }
});

it("has flags of its own below `eval`", async () => {
  const help = await run("rankings", "--help");
  expect(help.out).toContain("--save-scores");
  expect(help.out).toContain("--json");
  expect(help.out).not.toContain("--taste");
  expect((await run("--help")).out).toMatch(/judge[\s\S]*rankings[\s\S]*models/);
  expect((await run("judge", "--help")).out).toContain("--best-of");
  expect(await run("--tsk", "x")).toMatchObject({ code: 2, err: expect.stringContaining("Did you mean --task?") });
});
