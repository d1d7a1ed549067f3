/** The kernels' names and the generated module. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { constantName, embedWgsl, generateModule } from "../embed-wgsl.mjs";

it("names constants in snake case and refuses what is no identifier", () => {
  expect(["a/matmul-tiled.wgsl", "matmulTiled.wgsl", "conv2d_dx.wgsl"].map(constantName)).toEqual([
    "matmul_tiled",
    "matmul_tiled",
    "conv2d_dx",
  ]);
  expect(() => constantName("2d.wgsl")).toThrow(/2d\.wgsl/);
  expect(() => constantName("a/for.wgsl")).toThrow(/rename/);
});

it("sorts the constants, keeps the texts and refuses two files of one name", () => {
  const text = 'let q = "x"; // `$' + "{a}\\\n";
  const generated = generateModule([
    { path: "b.wgsl", text: "" },
    { path: "a.wgsl", text },
  ]);
  expect(generated.split("\n").slice(1, 3)).toEqual([
    `export const a = ${JSON.stringify(text)};`,
    'export const b = "";',
  ]);
  expect(() =>
    generateModule([
      { path: "x/a.wgsl", text: "" },
      { path: "y/a.wgsl", text: "" },
    ]),
  ).toThrow(/x\/a\.wgsl and y\/a\.wgsl/);
});

it("writes only what changed", () => {
  const folder = mkdtempSync(join(tmpdir(), "wgsl-"));
  mkdirSync(join(folder, "matmul"));
  writeFileSync(join(folder, "matmul", "matmul.wgsl"), "fn main() {}\n");
  expect(embedWgsl(folder, { write: false })).toBe(true);
  expect(embedWgsl(folder)).toBe(true);
  expect(embedWgsl(folder)).toBe(false);
  expect(readFileSync(join(folder, "wgsl.gen.ts"), "utf8")).toContain('export const matmul = "fn main() {}\\n";');
  rmSync(folder, { recursive: true });
});
