/** The import rules' check on workspaces made in a temporary folder. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { checkFloors } from "../check-floors.mjs";

let root;

function write(files) {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "floors-"));
  const entry = (name) => ({ source: `./src/${name}.ts` });
  for (const name of ["tensor", "models", "refl"]) {
    const exports = { ".": entry("index"), "./node": entry("node") };
    write({
      [`packages/${name}/package.json`]: JSON.stringify({ name: `@refl/${name}`, exports }),
      [`packages/${name}/src/index.ts`]: "export {};\n",
      [`packages/${name}/src/node.ts`]: "export {};\n",
    });
  }
  write({
    "apps/cli/package.json": JSON.stringify({ name: "refl" }),
    "apps/studio/package.json": JSON.stringify({ name: "@refl/studio" }),
  });
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe("floors", () => {
  it("accepts imports that go down, from outside the workspace, and within a package", () => {
    write({
      "packages/models/src/a.ts":
        'import { x } from "@refl/tensor";\nimport * as v from "valibot";\nimport "./b.ts";\n',
      "packages/models/src/b.ts": '// import "@refl/refl"\nconst text = \'import "@refl/refl"\';\n',
      "apps/cli/src/main.ts": 'import "@refl/refl/node";\nimport { x } from "node:fs";\nprocess.exit(0);\n',
    });
    expect(checkFloors(root).problems).toEqual([]);
  });

  it.each([
    ["an import", 'import { r } from "@refl/refl";'],
    ["a type import", 'import type { R } from "@refl/refl";'],
    ["a type in an expression", 'export type R = import("@refl/refl").R;'],
    ["a re-export over lines", 'export {\n  a,\n  type B,\n} from "@refl/refl";'],
    ["a dynamic import", 'const m = await import("@refl/refl");'],
    ["an import of a subpath", 'import "@refl/refl/node";'],
    ["a relative path", 'import { r } from "../../refl/src/index.ts";'],
    ["an app", 'import "refl";'],
  ])("refuses %s that goes up", (_, text) => {
    write({ "packages/models/src/deep.ts": `${text}\n` });
    const { problems } = checkFloors(root);
    expect(problems[0]).toMatch(/^packages\/models\/src\/deep\.ts:\d+: .*imports go down the floors only$/);
  });

  it("refuses an app that imports another app and a source that reaches down by path", () => {
    write({
      "apps/studio/src/a.ts": 'import "refl";\n',
      "packages/models/src/a.ts": 'import "../../tensor/src/index.ts";\n',
    });
    expect(checkFloors(root).problems).toEqual([
      'apps/studio/src/a.ts:1: imports "refl" (floor 5) from floor 5; imports go down the floors only',
      'packages/models/src/a.ts:1: imports "../../tensor/src/index.ts" by path; name the package instead',
    ]);
  });
});

describe("Node", () => {
  it("stays in *.node.ts, node.ts and tests", () => {
    const text = 'import { readFileSync } from "node:fs";\nconsole.log(process.argv);\n';
    write({
      "packages/tensor/src/file.node.ts": text,
      "packages/tensor/src/node.ts": text,
      "packages/tensor/test/a.test.ts": text,
      "packages/tensor/src/bad.ts": text,
      "packages/tensor/src/bare.ts": 'import fs from "fs";\n',
      "packages/tensor/src/through.ts": 'import { x } from "./file.node.ts";\nimport "@refl/tensor/node";\n',
    });
    expect(checkFloors(root).problems).toEqual([
      'packages/tensor/src/bad.ts:1: imports "node:fs"; only *.node.ts modules may use Node',
      'packages/tensor/src/bad.ts:2: uses "process"; only *.node.ts modules may use Node',
      'packages/tensor/src/bare.ts:1: imports "fs"; only *.node.ts modules may use Node',
      'packages/tensor/src/through.ts:1: imports "./file.node.ts", a Node module; only *.node.ts modules may',
      'packages/tensor/src/through.ts:2: imports "@refl/tensor/node", a Node module; only *.node.ts modules may',
    ]);
  });

  it("is not meant by a property, a comment or a string named process", () => {
    write({
      "packages/tensor/src/a.ts":
        '/** process.env */\nconst a = { process: 1 };\nconst re = /["\'`]/;\nexport const b = [a.process.toFixed(1), "process.env", `process.${a}`, re];\n',
    });
    expect(checkFloors(root).problems).toEqual([]);
  });

  it("is found inside a template's expression", () => {
    write({ "packages/tensor/src/a.ts": 'const o = { a: "}" };\nexport const b = `x ${o.a + `${process.env}`} y`;\n' });
    expect(checkFloors(root).problems).toHaveLength(1);
  });
});

describe("the test split", () => {
  it("is refused where training code reaches it, however far", () => {
    write({
      "packages/refl/src/train/base.ts": 'import { next } from "../data/batch.ts";\n',
      "packages/refl/src/data/batch.ts": 'import { all } from "./splits/index.ts";\n',
      "packages/refl/src/data/splits/index.ts": 'export * from "./train.ts";\nexport * from "./test.ts";\n',
      "packages/refl/src/data/splits/train.ts": "export const a = 1;\n",
      "packages/refl/src/data/splits/test.ts": "export const b = 1;\n",
    });
    expect(checkFloors(root).problems).toEqual([
      "packages/refl/src/train/base.ts: the training code reaches the test split: packages/refl/src/train/base.ts → packages/refl/src/data/batch.ts → packages/refl/src/data/splits/index.ts → packages/refl/src/data/splits/test.ts",
    ]);
  });

  it("may be read by the evaluation", () => {
    write({
      "packages/refl/src/train/base.ts": 'import { a } from "../data/splits/train.ts";\n',
      "packages/refl/src/eval/run.ts": 'import { b } from "../data/splits/test-split.ts";\n',
      "packages/refl/src/data/splits/train.ts": "export const a = 1;\n",
      "packages/refl/src/data/splits/test-split.ts": "export const b = 1;\n",
    });
    expect(checkFloors(root).problems).toEqual([]);
  });
});
