/** The pipeline: folders there and back, pictures that do not depend on their batch, progress and abort, and nothing left in memory. */
import { CheckpointError, DataError, type Device } from "@refl/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { memoryFolder } from "../../src/formats/folder.ts";
import { CLIPTextModel } from "../../src/models/clip-text.ts";
import { PixelCodec } from "../../src/models/pixel-codec.ts";
import { UNet2DConditionModel } from "../../src/models/unet.ts";
import type { Scheduler } from "../../src/pipelines/sampler.ts";
import { TextToImagePipeline } from "../../src/pipelines/text-to-image.ts";
import { DDIMScheduler } from "../../src/schedulers/ddim.ts";
import { DDPMScheduler } from "../../src/schedulers/ddpm.ts";
import { PNDMScheduler } from "../../src/schedulers/pndm.ts";
import { CLIPTokenizer, clipVocabulary } from "../../src/tokenizers/clip-tokenizer.ts";
import type { Tokenizer } from "../../src/tokenizers/tokenizer.ts";
import { WordTokenizer } from "../../src/tokenizers/word-tokenizer.ts";
import { deviation } from "../models/golden.ts";

const WORDS = ["a", "red", "blue", "square", "circle"];
const PROMPTS = ["a red square", "a blue circle", "a blue square"];

const UNET = {
  sample_size: 4,
  in_channels: 12,
  out_channels: 12,
  block_out_channels: [16, 24],
  down_block_types: ["CrossAttnDownBlock2D", "DownBlock2D"],
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D"],
  layers_per_block: 1,
  cross_attention_dim: 16,
  attention_head_dim: 2,
  norm_num_groups: 8,
};

function makePipeline(
  device: Device,
  scheduler: Scheduler = new DDIMScheduler({ prediction_type: "sample" }),
  tokenizer: Tokenizer = WordTokenizer.fromWords(WORDS, { maxLength: 6 }),
) {
  const text = {
    vocab_size: tokenizer.vocabSize,
    hidden_size: 16,
    intermediate_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    max_position_embeddings: 6,
  };
  return new TextToImagePipeline(device, {
    tokenizer,
    textEncoder: new CLIPTextModel(text).initialize(device, 1).eval(),
    unet: new UNet2DConditionModel(UNET).initialize(device, 2).eval(),
    scheduler,
    codec: new PixelCodec({ factor: 2 }),
  });
}

let device: Device;
let pipeline: TextToImagePipeline;
beforeAll(async () => {
  device = await testDevice();
  pipeline = makePipeline(device);
});
afterAll(() => pipeline.dispose());

async function draw(
  from: TextToImagePipeline,
  options: Parameters<TextToImagePipeline["generate"]>[0],
): Promise<Float32Array> {
  const pictures = await from.generate(options);
  try {
    return (await pictures.data()) as Float32Array;
  } finally {
    pictures.dispose();
  }
}

describe("pictures", () => {
  test.each([
    ["DDIM", 0, 1],
    ["DDIM with noise and guidance", 0.7, 3],
  ])("%s: a picture does not depend on the batch it is drawn in", async (_, eta, guidanceScale) => {
    const common = { steps: 3, eta, guidanceScale, negativePrompt: "red" };
    const together = await draw(pipeline, { ...common, prompts: PROMPTS, seeds: 5 });
    for (const [i, prompt] of PROMPTS.entries()) {
      const alone = await draw(pipeline, { ...common, prompts: [prompt], seeds: [{ seed: 5, index: i }] });
      expect(deviation(alone, together.subarray(i * alone.length, (i + 1) * alone.length))).toBe(0);
    }
    expect(together.every((x) => x >= 0 && x <= 1)).toBe(true);
  });

  test("another seed, index or prompt gives another picture", async () => {
    const base = await draw(pipeline, { prompts: [PROMPTS[0]!], seeds: [1], steps: 2 });
    for (const [prompt, seed] of [
      [PROMPTS[0]!, { seed: 2 }],
      [PROMPTS[0]!, { seed: 1, index: 1 }],
      [PROMPTS[1]!, { seed: 1 }],
    ] as const) {
      expect(deviation(await draw(pipeline, { prompts: [prompt], seeds: [seed], steps: 2 }), base)).toBeGreaterThan(
        1e-3,
      );
    }
    expect([...(await draw(pipeline, { prompts: [PROMPTS[0]!], seeds: [1], steps: 2 }))]).toEqual([...base]);
  });

  test("DDPM and another size", async () => {
    const ancestral = makePipeline(device, new DDPMScheduler({ prediction_type: "epsilon" }));
    const pictures = await ancestral.generate({ prompts: PROMPTS, seeds: 1, steps: 2, size: [12, 16] });
    expect(pictures.shape).toEqual([3, 3, 12, 16]);
    expect(((await pictures.data()) as Float32Array).every(Number.isFinite)).toBe(true);
    pictures.dispose();
    ancestral.dispose();
  });

  test("PNDM, CLIP's tokenizer and PyTorch's noise, and the same from its folder", async () => {
    const merges = ["r e", "re d</w>"];
    const own = makePipeline(
      device,
      new PNDMScheduler({ skip_prk_steps: true, set_alpha_to_one: true, prediction_type: "v_prediction" }),
      new CLIPTokenizer({ vocab: clipVocabulary(merges), merges, maxLength: 6 }),
    );
    const options = { prompts: ["red", "a red"], seeds: 7, steps: 3, noise: "torch-cpu", guidanceScale: 3 } as const;
    const first = await draw(own, { ...options, guidanceRescale: 0.7 });
    const before = device.memory().inUse;
    expect(first.every((x) => x >= 0 && x <= 1)).toBe(true);
    expect(await draw(own, { ...options, noise: "philox", guidanceRescale: 0.7 })).not.toEqual(first);
    expect(await draw(own, options)).not.toEqual(first);
    expect(device.memory().inUse).toBe(before);
    const folder = memoryFolder();
    await own.save(folder);
    own.dispose();
    const back = await TextToImagePipeline.fromFolder(folder, device);
    expect(back.tokenizer).toBeInstanceOf(CLIPTokenizer);
    expect(back.scheduler).toBeInstanceOf(PNDMScheduler);
    expect(await draw(back, { ...options, guidanceRescale: 0.7 })).toEqual(first);
    back.dispose();
  });

  test("steps are reported and memory is given back, after an abort too", async () => {
    const before = device.memory().inUse;
    const abort = new AbortController();
    const seen: number[] = [];
    const run = async (): Promise<void> => {
      for await (const { step } of pipeline.sample({ prompts: PROMPTS, seeds: 1, steps: 5, signal: abort.signal })) {
        seen.push(step);
        if (step === 2) abort.abort(new Error("enough"));
      }
    };
    await expect(run()).rejects.toThrow("enough");
    expect(seen).toEqual([1, 2]);
    expect(device.memory().inUse).toBe(before);
    (await pipeline.generate({ prompts: PROMPTS, seeds: 1, steps: 2 })).dispose();
    expect(device.memory().inUse).toBe(before);
  });

  test("counts that do not fit are refused", async () => {
    await expect(pipeline.generate({ prompts: PROMPTS, seeds: [1] })).rejects.toThrow(/1 seeds for 3 pictures/);
    await expect(pipeline.generate({ prompts: [], seeds: 1 })).rejects.toThrow(DataError);
    await expect(
      pipeline.generate({ prompts: PROMPTS, seeds: 1, guidanceScale: 2, negativePrompt: ["a"] }),
    ).rejects.toThrow(/1 for 3 prompts/);
  });
});

describe("folders", () => {
  test("a saved pipeline opens with the same weights and draws the same pictures", async () => {
    const folder = memoryFolder();
    await pipeline.save(folder);
    expect(await folder.list()).toEqual([
      "model_index.json",
      "scheduler/scheduler_config.json",
      "text_encoder/config.json",
      "text_encoder/model.safetensors",
      "tokenizer/tokenizer.json",
      "tokenizer/tokenizer_config.json",
      "unet/config.json",
      "unet/diffusion_pytorch_model.safetensors",
      "vae/config.json",
    ]);
    const opened = await TextToImagePipeline.fromFolder(folder, device);
    const options = { prompts: PROMPTS, seeds: 9, steps: 2 };
    expect([...(await draw(opened, options))]).toEqual([...(await draw(pipeline, options))]);
    opened.dispose();
  });

  test("half-precision files have half the size and nearly the same weights", async () => {
    const [whole, half] = [memoryFolder(), memoryFolder()];
    await pipeline.save(whole);
    await pipeline.save(half, { dtype: "F16" });
    const file = "unet/diffusion_pytorch_model.safetensors";
    const sizes = await Promise.all([whole, half].map(async (folder) => (await folder.open(file)).size));
    expect(sizes[1]! / sizes[0]!).toBeLessThan(0.65);
    const opened = await TextToImagePipeline.fromFolder(half, device);
    const options = { prompts: PROMPTS, seeds: 9, steps: 2 };
    expect(deviation(await draw(opened, options), await draw(pipeline, options))).toBeLessThan(0.02);
    opened.dispose();
  });

  test("a damaged or foreign folder names the file and leaves no memory behind", async () => {
    const before = device.memory().inUse;
    const files = new Map<string, Uint8Array>();
    const folder = memoryFolder(files, "m");
    await pipeline.save(folder);
    const open = () => TextToImagePipeline.fromFolder(memoryFolder(files, "m"), device);
    const unet = "unet/diffusion_pytorch_model.safetensors";
    const whole = files.get(unet)!;
    files.set(unet, whole.subarray(0, whole.length - 4));
    await expect(open()).rejects.toThrow(CheckpointError);
    files.delete(unet);
    await expect(open()).rejects.toThrow(/m\/unet\/diffusion_pytorch_model\.safetensors.*does not exist/);
    files.set(unet, whole);
    const config = files.get("unet/config.json")!;
    await folder.writeJson("unet/config.json", { ...UNET, block_out_channels: [16, 32] });
    await expect(open()).rejects.toThrow(/of another shape/);
    files.set("unet/config.json", config);
    await folder.writeJson("model_index.json", {
      ...(await folder.readJson("model_index.json")),
      vae: ["diffusers", "VQModel"],
    });
    await expect(open()).rejects.toThrow(
      /vae: class VQModel is not supported, only AutoencoderKL, AutoencoderTiny, PixelCodec/,
    );
    expect(device.memory().inUse).toBe(before);
  });

  test("components that do not fit each other are refused", () => {
    const { tokenizer, textEncoder, unet, scheduler } = pipeline;
    const codec = new PixelCodec({ factor: 4 });
    expect(() => new TextToImagePipeline(device, { tokenizer, textEncoder, unet, scheduler, codec })).toThrow(
      /unet\.in_channels: 12, the codec has 48/,
    );
  });
});
