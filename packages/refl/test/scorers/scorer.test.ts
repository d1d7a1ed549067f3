/** Places of models, and the files that lie beside them. */
import { memoryFolder } from "@refl/models";
import { expect, it } from "vitest";
import { medConfigBeside } from "../../src/scorers/scorer.ts";

it("reads med_config.json beside the weights and nowhere else", async () => {
  const json = (hidden: number) => new TextEncoder().encode(JSON.stringify({ hidden_size: hidden }));
  const files = new Map([
    ["med_config.json", json(1)],
    ["a/b/med_config.json", json(2)],
  ]);
  const folder = memoryFolder(files, "models");
  expect(await medConfigBeside({ folder, file: "x.pth" })).toEqual({ hidden_size: 1 });
  expect(await medConfigBeside({ folder, file: "a/b/x.pth" })).toEqual({ hidden_size: 2 });
  expect(await medConfigBeside({ folder, file: "a/x.pth" })).toBeUndefined();
  expect(await medConfigBeside({ folder, file: null })).toEqual({ hidden_size: 1 });
});
