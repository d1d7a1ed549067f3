/** `sample` on models in a single file and with LoRA files: diffusers' pictures, records that draw them again, and refusals. */
import { readFileSync } from "node:fs";
import { type ModelFolder, memoryFolder } from "@refl/models";
import { createDevice, DataError, type Device } from "@refl/tensor";
import { nodeHost } from "@refl/tensor/node";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Golden } from "../../../models/test/models/golden-file.ts";
import { config as goldenModel, saveGoldenModel } from "../../../models/test/pipelines/golden-model.ts";
import { ldmFile, loraFile, type SingleFileGolden } from "../../../models/test/pipelines/single-file-golden.ts";
import { resolveConfig, sampleConfig, sampleSource } from "../../src/config/index.ts";
import { plainSource } from "../../src/config/source.ts";
import { planesToBytes } from "../../src/data/pixels.ts";
import type { JobContext } from "../../src/jobs/context.ts";
import { parseLora } from "../../src/jobs/open-model.ts";
import { type DrawnPicture, runSample } from "../../src/jobs/sample.ts";

const golden = await Golden.open("single_file");
const listed = JSON.parse(
  readFileSync(new URL("../../../models/test/golden/single_file.json", import.meta.url), "utf8"),
) as SingleFileGolden;
const { steps, guidance, seed } = listed.options;
const files = memoryFolder(
  new Map([
    ["sd.safetensors", ldmFile(listed)],
    ["kohya.safetensors", loraFile(listed, "kohya")],
    ["diffusers.safetensors", loraFile(listed, "diffusers")],
  ]),
  "files",
);
const sd = memoryFolder(new Map(), "sd");

let device: Device;
beforeAll(async () => {
  device = await createDevice({ host: nodeHost() });
  await saveGoldenModel(device, sd);
});
afterAll(() => device.dispose());

const context = (): JobContext => ({
  device,
  sink: null,
  open: async (): Promise<ModelFolder> => sd,
  place: async (path) => (path.endsWith(".safetensors") ? { folder: files, file: path } : { folder: sd, file: null }),
  shipped: async () => {
    throw new Error("no shipped model is asked for");
  },
});

const config = (values: Record<string, unknown>) => {
  const prompts = [goldenModel.prompts[0]!];
  const given = { prompts, samplerSteps: steps, guidance, seed, noise: "torch-cpu", ...values };
  return resolveConfig(sampleConfig, [plainSource(given, "test")]);
};

async function draw(values: Record<string, unknown>): Promise<DrawnPicture> {
  const run = runSample(config(values), context());
  for (;;) {
    const next = await run.next();
    if (next.done) return next.value[0]!;
  }
}

/** Largest difference in levels from the golden's first picture. */
function levels({ image }: DrawnPicture, name: string): number {
  const values = golden.values(`output.${name}`);
  const expected = planesToBytes(
    values.subarray(0, values.length / goldenModel.prompts.length),
    image.width * image.height,
  );
  return image.rgb.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);
}

it("draws a single file's picture, and the record draws it again", async () => {
  const drawn = await draw({ model: "sd.safetensors", modelConfig: "sd", tokenizer: "sd" });
  expect(levels(drawn, "single_file")).toBeLessThanOrEqual(1);
  const again = resolveConfig(sampleConfig, [sampleSource(drawn.record, "record")]);
  expect(again).toMatchObject({ model: "sd.safetensors", modelConfig: "sd", tokenizer: "sd" });
});

it("merges LoRA files, one over the other", async () => {
  const lora = [`kohya.safetensors:${listed.scales.kohya}`, `diffusers.safetensors:${listed.scales.diffusers}`];
  expect(levels(await draw({ model: "sd", lora: lora.slice(0, 1) }), "kohya")).toBeLessThanOrEqual(1);
  const both = await draw({ model: "sd", lora });
  expect(levels(both, "both")).toBeLessThanOrEqual(1);
  expect(both.record.lora).toEqual(lora);
});

it("refuses what does not fit, and leaves nothing in memory", async () => {
  const before = device.memory().inUse;
  await expect(draw({ model: "sd", tokenizer: "sd" })).rejects.toThrow(/tokenizer.*single file/s);
  await expect(draw({ model: "sd", lora: ["sd.safetensors"] })).rejects.toThrow(/sd\.safetensors/);
  expect(device.memory().inUse).toBe(before);
  expect(() => parseLora("")).toThrow(DataError);
  expect(parseLora("a:b.safetensors:0.5")).toEqual({ file: "a:b.safetensors", scale: 0.5 });
  expect(parseLora("a.safetensors")).toEqual({ file: "a.safetensors", scale: 1 });
});
