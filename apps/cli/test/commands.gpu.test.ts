/** Commands that need a device: pictures that repeat themselves, unknown words, bad model folders, and a disk that is full. */
import { cp, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { RunEvent } from "@refl/refl";
import { decodePng } from "@refl/refl/node";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { fillDiskAfter, restoreDisk } from "../../../packages/refl/test/io/full-disk.ts";
import { runCli } from "../src/program.ts";
import { fakeTerminal } from "./fake-terminal.ts";

const MODELS = fileURLToPath(new URL("../../../packages/refl/assets/models/shapes16", import.meta.url));
const UNET = join("unet", "diffusion_pytorch_model.safetensors");
const SHORT = ["--count", "1", "--sampler-steps", "2"];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "refl-commands-"));
});
afterEach(restoreDisk);
afterAll(() => rm(folder, { recursive: true }));

async function run(...args: string[]) {
  const terminal = fakeTerminal();
  const code = await runCli(args, terminal);
  return { code, out: terminal.out, err: terminal.err };
}

/** A copy of the shipped base model whose UNet's file was changed. */
async function damaged(name: string, damage: (path: string) => Promise<unknown>): Promise<string> {
  const copy = join(folder, name);
  await cp(join(MODELS, "base"), copy, { recursive: true });
  await damage(join(copy, UNET));
  return copy;
}

it("repeats a picture of a shipped model from its own parameters, and warns of unknown words", async () => {
  const [first, second] = [join(folder, "first"), join(folder, "second")];
  const drawn = await run("sample", "--task", "shapes16", ...SHORT, "--seed", "7", "--out", first, "a big red zebra");
  expect(drawn).toMatchObject({ code: 0, err: expect.stringMatching(/warning: unknown words "zebra": /) });
  const again = await run("sample", "--from", join(first, "00001-7-0.png"), "--out", second);
  expect(again.code).toBe(0);
  expect(again.err).not.toContain("will not come out the same");
  expect(await readdir(second)).toEqual(["00001-7-0.png"]);
  expect(await readFile(join(second, "00001-7-0.png"))).toEqual(await readFile(join(first, "00001-7-0.png")));
  const other = await run("sample", "--from", join(first, "00001-7-0.png"), "--out", second, "--task", "emoji32");
  expect(other.err).toMatch(/was drawn with the weights [0-9a-f]{10}, these are [0-9a-f]{10}/);
});

it("scores and ranks pictures by file, folder and pattern, as CSV and as JSON, with the prompts given or those of the PNGs", async () => {
  const blip = ["--scorer", "blip", "--model", join(MODELS, "blip")];
  const pictures = join(folder, "drawn");
  const prompt = "a big red circle";
  const grid = join(folder, "grid.png");
  const drawing = ["--count", "2", "--sampler-steps", "2", "--out", pictures, "--grid", grid];
  await run("sample", "--task", "shapes16", ...drawing, prompt);
  expect(decodePng(await readFile(grid))).toMatchObject({ width: 38, height: 20 });
  const csv = await run("score", ...blip, pictures, "--format", "csv");
  expect(csv.code).toBe(0);
  const lines = csv.out.trim().split("\r\n");
  expect(lines[0]).toBe("file,prompt,score");
  expect(lines.slice(1).map((line) => line.split(",")[1])).toEqual([prompt, prompt]);
  const scores = lines.slice(1).map((line) => Number(line.split(",")[2]));
  expect(scores.every((score) => Math.abs(score) <= 1)).toBe(true);
  const out = join(folder, "ranks.json");
  const many = ["--prompt", "a small blue ring", "--out", out, join(pictures, "*.png")];
  const ranked = await run("rank", prompt, ...blip, "--batch-size", "1", ...many);
  expect(ranked).toMatchObject({ code: 0, out: "" });
  const records = JSON.parse(await readFile(out, "utf8")) as { file: string; score: number; rank: number }[];
  expect(records.map(({ rank }) => rank)).toEqual([1, 2, 1, 2]);
  const table = await run("score", ...blip, pictures);
  expect(table.out).toMatch(/Scores\n\npicture +BLIP score +prompt/);
});

it("refuses truncated, hostile and misfitting weights by file and key, and leaves nothing behind", async () => {
  const header = (length: bigint) => async (path: string) => {
    const bytes = await readFile(path);
    bytes.writeBigUInt64LE(length);
    await writeFile(path, bytes);
  };
  const reshape = async (path: string) => {
    const bytes = await readFile(path);
    const end = 8 + Number(bytes.readBigUInt64LE());
    const text = bytes.toString("utf8", 8, end);
    // The same length, so that nothing moves: [32] becomes [8,4] without a space that is there.
    const changed = text.replace(/("conv_in\.bias":\{[^}]*"shape":)\[32\]/, "$1[4,8]").padEnd(text.length);
    const head = Buffer.alloc(8);
    head.writeBigUInt64LE(BigInt(Buffer.byteLength(changed)));
    await writeFile(path, Buffer.concat([head, Buffer.from(changed), bytes.subarray(end)]));
  };
  const out = join(folder, "none");
  for (const [model, message] of [
    [await damaged("cut", (path) => truncate(path, 5000)), /cut\/unet\/.*safetensors: header length: .*truncated/],
    [await damaged("huge", header(2n ** 60n)), /huge\/unet\/.*: header length: \d+ bytes, at most \d+ are allowed/],
    [await damaged("shape", reshape), /shape\/unet\/.*: conv_in\.bias is \[4, 8\], expected \[32\]/],
    [join(MODELS, "blip"), /blip: holds no text-to-image model: expected a diffusers folder/],
    [join(folder, "nowhere"), /nowhere: no such folder/],
  ] as const) {
    const { code, err } = await run("sample", "--task", "shapes16", "--model", model, "--out", out, "a big red circle");
    expect(err).toMatch(message);
    expect(code).toBe(2);
  }
  expect(await readdir(folder)).not.toContain("none");
  const score = await run("score", "--model", join(MODELS, "base"), join(folder, "first"));
  expect(score).toMatchObject({ code: 2, err: expect.stringMatching(/base: holds no reward model/) });
  const runs = join(folder, "runs");
  const refl = await run("train", "refl", "--task", "shapes16", "--reward", join(MODELS, "base"), "--out", runs);
  expect(refl).toMatchObject({ code: 2, err: expect.stringMatching(/base: holds no reward model/) });
  expect(await readdir(runs)).toEqual([]);
});

it("ends with 2 on a full disk and leaves no half of a picture", async () => {
  const out = join(folder, "full");
  fillDiskAfter(200);
  const { code, err } = await run("sample", "--task", "shapes16", ...SHORT, "--out", out, "a big red circle");
  restoreDisk();
  expect(err).toMatch(/error: .*00001-0-0\.png: .*the disk is full/);
  expect(code).toBe(2);
  expect(await readdir(out)).toEqual([]);
});

it("tells what a training would need without leaving anything behind", async () => {
  const out = join(folder, "dry");
  const { code, out: text } = await run("train", "base", "--task", "shapes16", "--dry-run", "--out", out, "--json");
  expect(code).toBe(0);
  const events: RunEvent[] = text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  const tables = events.filter((event) => event.type === "table");
  const [parameters, memory, steps] = tables.map(({ rows }) => rows);
  expect(parameters![0]).toEqual(["unet", "551,340", "0"]);
  expect(memory!.map(([part]) => part)).toEqual(expect.arrayContaining(["gradients", "activations", "all"]));
  expect(steps![0]!.slice(0, 2)).toEqual(["base", 2000]);
  const notes = events.flatMap((event) => (event.type === "note" ? [event.message] : []));
  expect(notes[0]).toMatch(/^largest tensor: [\d.]+ MiB of [\d.]+ MiB that the adapter binds at once$/);
  expect(notes[1]).toMatch(/^about [\d.e+]+ s in all on /);
  expect(events.at(-1)).toMatchObject({ type: "result", summary: { stages: [{ stage: "base", steps: 2000 }] } });
  expect(await readdir(folder)).not.toContain("dry");
});
