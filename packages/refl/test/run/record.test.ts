/** Recording a run: metrics and grids are kept before the events pass on, results come through, and a reader's stop reaches the run. */
import { promises as fs } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { Run } from "../../src/events.ts";
import { layoutGrid } from "../../src/io/grid.ts";
import { createRunFolder, type RunFolder } from "../../src/run/folder.node.ts";
import { recordRun } from "../../src/run/record.ts";

let root: string;
let folder: RunFolder;
beforeEach(async () => {
  root = await fs.mkdtemp(join(tmpdir(), "refl-record-"));
  folder = await createRunFolder(root, "demo", {});
});
afterEach(() => fs.rm(root, { recursive: true }));

let cleaned = false;
async function* train(): Run<string> {
  cleaned = false;
  try {
    yield { type: "stage", stage: "refl" };
    for (let step = 1; step <= 2; step++)
      yield { type: "step", stage: "refl", step, total: 2, metrics: { loss: 1 / step } };
    const grid = layoutGrid([{ width: 1, height: 1, rgb: new Uint8Array(3) }]);
    yield { type: "samples", stage: "refl", step: 2, grid };
    return "done";
  } finally {
    cleaned = true;
  }
}

const metrics = async () => (await fs.readFile(join(folder.location, "metrics.jsonl"), "utf8")).trimEnd().split("\n");

it("keeps steps and grids and gives the result on", async () => {
  const run = recordRun(train(), folder);
  const types: string[] = [];
  let next = await run.next();
  for (; !next.done; next = await run.next()) types.push(next.value.type);
  expect(next.value).toBe("done");
  expect(types).toEqual(["stage", "step", "step", "samples"]);
  expect((await metrics()).map((line) => JSON.parse(line))).toEqual([
    { stage: "refl", step: 1, loss: 1 },
    { stage: "refl", step: 2, loss: 0.5 },
  ]);
  expect(await fs.readdir(join(folder.location, "samples"))).toEqual(["refl-step-000002.png"]);
});

it("ends the run when its reader stops, and when nothing can be kept any more", async () => {
  const run = recordRun(train(), folder);
  await run.next();
  await run.return("stopped");
  expect(cleaned).toBe(true);
  await fs.mkdir(join(folder.location, "metrics.jsonl"));
  const failing = recordRun(train(), folder);
  await failing.next();
  await expect(failing.next()).rejects.toMatchObject({ code: "storage" });
  expect(cleaned).toBe(true);
});
