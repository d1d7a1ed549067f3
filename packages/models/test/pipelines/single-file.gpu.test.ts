/** Stable Diffusion from one file and with LoRA files: the pictures of diffusers' `from_single_file` and `load_lora_weights` (`reference/golden/single_file.py`). */
import { readFileSync } from "node:fs";
import { CheckpointError, type Device } from "@refl/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { bytesSource } from "../../src/formats/byte-source.ts";
import type { Checkpoint } from "../../src/formats/checkpoint.ts";
import { float32Entry } from "../../src/formats/entries.ts";
import { memoryFolder } from "../../src/formats/folder.ts";
import { hasLora, type LoraComponent, readLora } from "../../src/formats/lora.ts";
import { openSafetensors, type TensorEntry, writeSafetensors } from "../../src/formats/safetensors.ts";
import { mergeablePaths, mergeLora } from "../../src/nn/lora.ts";
import { pipelineFromSingleFile } from "../../src/pipelines/single-file.ts";
import { TextToImagePipeline } from "../../src/pipelines/text-to-image.ts";
import { CLIPTokenizer, clipVocabulary } from "../../src/tokenizers/clip-tokenizer.ts";
import { Golden } from "../models/golden-file.ts";
import { config as modelConfig, saveGoldenModel } from "./golden-model.ts";
import { ldmFile, loraFile, type SingleFileGolden } from "./single-file-golden.ts";

const golden = await Golden.open("single_file");
const listed = JSON.parse(
  readFileSync(new URL("../golden/single_file.json", import.meta.url), "utf8"),
) as SingleFileGolden;
const open = (bytes: Uint8Array, name = "model.safetensors"): Promise<Checkpoint> =>
  openSafetensors(bytesSource(bytes, name));
const folder = memoryFolder(new Map(), "sd");
const { merges, prompts } = modelConfig;
const tokenizer = new CLIPTokenizer({ vocab: clipVocabulary(merges), merges });

let device: Device;
beforeAll(async () => {
  device = await testDevice();
  await saveGoldenModel(device, folder);
});

async function expectPicture(pipeline: TextToImagePipeline, name: string): Promise<void> {
  const { steps, guidance, seed } = listed.options;
  using drawn = await pipeline.generate({ prompts, steps, guidanceScale: guidance, seeds: seed, noise: "torch-cpu" });
  const found = (await drawn.data()) as Float32Array;
  const expected = golden.values(`output.${name}`);
  const worst = found.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);
  expect(found.length).toBe(expected.length);
  expect(worst, name).toBeLessThan(1e-3);
}

async function merge(pipeline: TextToImagePipeline, file: Checkpoint, scale: number): Promise<void> {
  for (const component of ["unet", "text_encoder"] as const satisfies readonly LoraComponent[]) {
    if (!hasLora(file, component)) continue;
    const part = component === "unet" ? pipeline.unet : pipeline.textEncoder;
    mergeLora(part, await readLora(file, mergeablePaths(part), { component }), { scale });
  }
}

describe("Stable Diffusion from one file", () => {
  it("draws diffusers' picture", async () => {
    const before = device.memory().inUse;
    const checkpoint = await open(ldmFile(listed));
    {
      using pipeline = await pipelineFromSingleFile(checkpoint, device, { tokenizer, config: folder });
      await expectPicture(pipeline, "single_file");
    }
    expect(device.memory().inUse).toBe(before);
  });

  it("says which weights do not fit Stable Diffusion 1, and leaves nothing in memory", async () => {
    const before = device.memory().inUse;
    const checkpoint = await open(ldmFile(listed));
    await expect(pipelineFromSingleFile(checkpoint, device, { tokenizer })).rejects.toThrow(CheckpointError);
    expect(device.memory().inUse).toBe(before);
  });
});

describe("LoRA files", () => {
  it("draw diffusers' pictures alone and together, convolutions and the text encoder included", async () => {
    using pipeline = await TextToImagePipeline.fromFolder(folder, device);
    await expectPicture(pipeline, "folder");
    await merge(pipeline, await open(loraFile(listed, "kohya")), listed.scales.kohya);
    await expectPicture(pipeline, "kohya");
    await merge(pipeline, await open(loraFile(listed, "diffusers")), listed.scales.diffusers);
    await expectPicture(pipeline, "both");
  });

  it("change nothing where one layer does not fit", async () => {
    using pipeline = await TextToImagePipeline.fromFolder(folder, device);
    const file = await open(loraFile(listed, "diffusers"));
    const weights = await readLora(file, mergeablePaths(pipeline.unet));
    const [[path, first]] = [...weights] as [[string, { up: TensorEntry; down: TensorEntry; alpha: number }]];
    const wide = { ...first, down: float32Entry("", [2, 5], new Float32Array(10)) };
    const bad = new Map([...weights, ["conv_in", wide] as const]);
    expect(() => mergeLora(pipeline.unet, bad, { file: "bad.safetensors" })).toThrow(/bad\.safetensors: conv_in/);
    expect(() => mergeLora(pipeline.unet, new Map([[`${path}.x`, first]]))).toThrow(/no linear layer or convolution/);
    await expectPicture(pipeline, "folder");
  });

  it("of diffusers before 0.18 and without the text encoder's prefix are read", async () => {
    using pipeline = await TextToImagePipeline.fromFolder(folder, device);
    const entry = (name: string, shape: number[]) => float32Entry(name, shape, new Float32Array(shape[0]! * shape[1]!));
    const layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1";
    const text = "text_encoder.encoder.layers.0.self_attn";
    const file = await open(
      writeSafetensors([
        entry(`unet.${layer}.processor.to_out_lora.down.weight`, [2, 16]),
        entry(`unet.${layer}.processor.to_out_lora.up.weight`, [16, 2]),
        entry(`${text}.to_q_lora.down.weight`, [2, 16]),
        entry(`${text}.to_q_lora.up.weight`, [16, 2]),
        entry(`${text}.out_proj.lora_linear_layer.down.weight`, [2, 16]),
        entry(`${text}.out_proj.lora_linear_layer.up.weight`, [16, 2]),
      ]),
    );
    const [unet, encoder] = [
      await readLora(file, mergeablePaths(pipeline.unet)),
      await readLora(file, mergeablePaths(pipeline.textEncoder), { component: "text_encoder" }),
    ];
    expect([...unet.keys()]).toEqual([`${layer}.to_out.0`]);
    const own = "text_model.encoder.layers.0.self_attn";
    expect([...encoder.keys()].sort()).toEqual([`${own}.out_proj`, `${own}.q_proj`]);
  });
});
