/** Content stamps: what makes a step run again. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { manifests, pinnedPnpm } from "../setup/dependencies.mjs";
import { hashFiles, listFiles, readStamp, unlessStamped } from "../setup/stamp.mjs";

let root;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "stamp-"));
  mkdirSync(join(root, "a/b"), { recursive: true });
  writeFileSync(join(root, "a/b/one"), "1");
  writeFileSync(join(root, "a/two"), "2");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

it("the hash follows names, contents and extras, not the order", () => {
  const hash = hashFiles(root, ["a/two", "a/b/one"]);
  expect(hashFiles(root, ["a/b/one", "a/two", "a/two"])).toBe(hash);
  expect(hashFiles(root, ["a/two", "a/b/one"], ["x"])).not.toBe(hash);
  expect(hashFiles(root, ["a/two", "a/b/one", "a/missing"])).not.toBe(hash);
  writeFileSync(join(root, "a/two"), "3");
  expect(hashFiles(root, ["a/two", "a/b/one"])).not.toBe(hash);
});

it("lists files below a folder", () => {
  expect(listFiles(root, "a").sort()).toEqual([join("a", "b", "one"), join("a", "two")]);
  expect(listFiles(root, "a", (path) => path.endsWith("two"))).toEqual([join("a", "two")]);
  expect(listFiles(root, "nowhere")).toEqual([]);
});

it("skips a finished step, and repeats it for a new stamp, a lost output or a failure", async () => {
  const file = join(root, "stamps/s");
  const output = join(root, "out");
  const work = async () => writeFileSync(output, "");
  expect(await unlessStamped(file, "1", [output], work)).toBe(true);
  expect(await unlessStamped(file, "1", [output], work)).toBe(false);
  expect(await unlessStamped(file, "2", [output], work)).toBe(true);
  rmSync(output);
  expect(await unlessStamped(file, "2", [output], work)).toBe(true);
  const failing = () => Promise.reject(new Error("no"));
  await expect(unlessStamped(file, "3", [output], failing)).rejects.toThrow("no");
  expect(readStamp(file)).toBeNull();
});

it("finds the manifests and the pinned pnpm", () => {
  for (const folder of ["packages/p", "apps/q", "packages/empty"]) mkdirSync(join(root, folder), { recursive: true });
  for (const folder of [".", "packages/p", "apps/q"]) writeFileSync(join(root, folder, "package.json"), "{}");
  expect(manifests(root)).toEqual(["package.json", "packages/p/package.json", "apps/q/package.json"]);
  expect(pinnedPnpm({ packageManager: "pnpm@12.21.0+sha512.aa" })).toBe("12.21.0");
  expect(() => pinnedPnpm({})).toThrow(/packageManager/);
});
