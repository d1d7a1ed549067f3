/** No module that training code reaches imports the test splits. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const source = fileURLToPath(new URL("../../src/", import.meta.url));

/** Modules of this package that a file imports or re-exports, by relative path or by the package's name. */
function importsOf(file: string): string[] {
  const text = readFileSync(file, "utf8");
  return [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+|@refl\/refl(?:\/node)?)"/g)].map(([, name = ""]) =>
    name.startsWith(".") ? join(dirname(file), name) : join(source, name.endsWith("/node") ? "node.ts" : "index.ts"),
  );
}

/** The chain of modules from `start` to one that `wanted` accepts. */
function chainTo(start: string, wanted: (file: string) => boolean): string[] | undefined {
  const cameFrom = new Map<string, string | undefined>([[start, undefined]]);
  for (const file of cameFrom.keys()) {
    if (wanted(file)) {
      const chain: string[] = [];
      for (let at: string | undefined = file; at; at = cameFrom.get(at)) chain.unshift(relative(source, at));
      return chain;
    }
    for (const next of importsOf(file)) if (!cameFrom.has(next) && existsSync(next)) cameFrom.set(next, file);
  }
  return undefined;
}

const isTestSplit = (file: string): boolean => /^data\/splits\/test/.test(relative(source, file));

it("finds a chain where there is one", () => {
  expect(chainTo(join(source, "index.ts"), isTestSplit)?.at(-1)).toBe("data/splits/test.ts");
});

it("training code reaches no test split", () => {
  const train = join(source, "train");
  const modules = existsSync(train) ? readdirSync(train, { recursive: true, encoding: "utf8" }) : [];
  const starts = modules.filter((name) => name.endsWith(".ts")).map((name) => join(train, name));
  for (const start of [...starts, join(source, "data/stream.ts"), join(source, "data/splits/train.ts")]) {
    expect(chainTo(start, isTestSplit)).toBeUndefined();
  }
});
