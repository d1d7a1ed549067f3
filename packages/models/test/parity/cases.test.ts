/** The golden files of full-size models fit the models: names of weights, of inputs and of the modules that are looked at, without memory for a weight. */
import { readdirSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Golden } from "../models/golden-file.ts";
import { PARITY_CASES } from "./cases.ts";

const folder = fileURLToPath(new URL("../golden/parity", import.meta.url));
const files = readdirSync(folder).map((file) => basename(file, ".safetensors"));

test.each(files)("%s", async (name) => {
  const { make, prefix } = PARITY_CASES.find((item) => item.name === name)!;
  const { config, entries } = await Golden.open(name, folder);
  const model = make();
  const keys = new Set([...model.shapes().keys()].map((key) => prefix + key));
  const modules = new Set([...model.namedModules()].map(([path]) => path));
  const { parameters = [], points } = config as { parameters?: string[]; points: string[] };
  // The reference names the weights of a part by their keys in the part, or in the whole.
  expect(parameters.filter((key) => !keys.has(key) && !keys.has(prefix + key))).toEqual([]);
  expect(points.filter((path) => !modules.has(path) && !modules.has(path.replace(prefix, "")))).toEqual([]);
  for (const path of points) expect(entries.has(`point.${path}`)).toBe(true);
  if (parameters.length) expect(entries.get("parameters.norms")!.shape).toEqual([parameters.length]);
});
