/** The code in README.md and docs runs: each block is one of the files in `examples/`, and each of those does what its text promises. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { decodePng } from "../src/node.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const examples = fileURLToPath(new URL("examples/", import.meta.url));
const DOCUMENTS = ["README.md", "docs/architecture.md", "docs/training.md", "docs/errors.md"];

/** An example's text without the comment that says what it is. */
const textOf = (name: string): string =>
  readFileSync(join(examples, name), "utf8").replace(/^\/\*\*[\s\S]*?\*\/\n/, "");

const here = process.cwd();
const folder = mkdtempSync(join(tmpdir(), "refl-docs-"));

// The examples are written for the repository's root, and what they write must not stay there.
beforeAll(() => {
  symlinkSync(join(root, "packages"), join(folder, "packages"), "dir");
  process.chdir(folder);
});

afterAll(() => {
  process.chdir(here);
  rmSync(folder, { recursive: true });
});

it("every block of TypeScript is an example, and every example is in a document", () => {
  const blocks = DOCUMENTS.flatMap((file) =>
    [...readFileSync(join(root, file), "utf8").matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1]!),
  );
  expect(blocks.sort()).toEqual(readdirSync(examples).map(textOf).sort());
});

it("the engine fits the line", async () => {
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  await import("./examples/engine.ts");
  const [weight, bias] = log.mock.lastCall as [number, number];
  log.mockRestore();
  expect(weight).toBeCloseTo(2, 1);
  expect(bias).toBeCloseTo(1, 1);
});

it("the pipeline draws its picture", async () => {
  await import("./examples/pipeline.ts");
  const { width, height, rgb } = decodePng(readFileSync("cat.png"), "cat.png");
  expect([width, height]).toEqual([32, 32]);
  // A blue background: the rim's blue stands above its red.
  const rim = Array.from({ length: 32 }, (_, x) => rgb[3 * x + 2]! - rgb[3 * x]!);
  expect(rim.reduce((a, b) => a + b, 0) / rim.length).toBeGreaterThan(40);
});
