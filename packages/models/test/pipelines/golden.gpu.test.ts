/** Pictures of Stable Diffusion shaped folders against diffusers' pipelines (`reference/`): the same seed gives the same picture. */
import { type Device, ShapeError, tensor } from "@refl/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { memoryFolder } from "../../src/formats/folder.ts";
import { loadCodec } from "../../src/pipelines/latent-codec.ts";
import type { Scheduler } from "../../src/pipelines/sampler.ts";
import { type SampleOptions, TextToImagePipeline } from "../../src/pipelines/text-to-image.ts";
import { DDIMScheduler } from "../../src/schedulers/ddim.ts";
import { DDPMScheduler } from "../../src/schedulers/ddpm.ts";
import { PNDMScheduler } from "../../src/schedulers/pndm.ts";
import { deviation } from "../models/golden.ts";
import { config, firstPicture, type GoldenCase, golden, saveGoldenModel } from "./golden-model.ts";

let device: Device;
const pipelines = {} as Record<"kl" | "tiny", TextToImagePipeline>;

/** The golden model, written into a folder and opened from there. */
async function throughFolder(kind: "kl" | "tiny"): Promise<TextToImagePipeline> {
  const folder = memoryFolder(new Map(), "sd");
  await saveGoldenModel(device, folder, kind);
  expect(await folder.readJson("model_index.json")).toMatchObject({
    _class_name: "StableDiffusionPipeline",
    vae: ["diffusers", kind === "kl" ? "AutoencoderKL" : "AutoencoderTiny"],
    requires_safety_checker: false,
  });
  return TextToImagePipeline.fromFolder(folder, device);
}

beforeAll(async () => {
  device = await testDevice();
  pipelines.kl = await throughFolder("kl");
  pipelines.tiny = await throughFolder("tiny");
});
afterAll(() => {
  pipelines.kl.dispose();
  pipelines.tiny.dispose();
});

function schedulerOf(values: GoldenCase["scheduler"]): Scheduler {
  switch (values._class_name) {
    case "DDIMScheduler":
      return new DDIMScheduler(values);
    case "DDPMScheduler":
      return new DDPMScheduler(values);
    default:
      return new PNDMScheduler(values);
  }
}

function optionsOf({ steps, guidance, seeds, negative, rescale = 0, eta = 0 }: GoldenCase): SampleOptions {
  return {
    prompts: config.prompts,
    steps,
    guidanceScale: guidance,
    guidanceRescale: rescale,
    seeds,
    eta,
    noise: "torch-cpu",
    ...(negative === undefined ? {} : { negativePrompt: negative }),
  };
}

/** The pipeline of a case, of the shared weights. */
function pipelineOf({ scheduler, vae }: GoldenCase): TextToImagePipeline {
  const { tokenizer, textEncoder, unet, codec } = pipelines[vae ?? "kl"];
  return new TextToImagePipeline(device, { tokenizer, textEncoder, unet, codec, scheduler: schedulerOf(scheduler) });
}

describe("the same seed gives diffusers' picture", () => {
  test.each(Object.entries(config.cases))("%s", async (name, given) => {
    const before = device.memory().inUse;
    const pipeline = pipelineOf(given);
    using rgb = firstPicture(device);
    const { strength } = given;
    const options = { ...optionsOf(given), ...(strength === undefined ? {} : { init: { rgb, strength } }) };
    const pictures = await pipeline.generate(options);
    const found = (await pictures.data()) as Float32Array;
    const expected = golden.values(`output.${name}`);
    const worst = found.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);
    expect(worst).toBeLessThan(1e-3);
    pictures.dispose();
    rgb.dispose();
    // A model's constants stay with it.
    expect(device.memory().inUse - before).toBeLessThan(1024);
  });
});

describe("from a picture", () => {
  const draw = async (options: Partial<SampleOptions>): Promise<Float32Array> => {
    const run = { ...optionsOf(config.cases["img2img_pndm"]!), noise: "philox", ...options } as const;
    using pictures = await pipelineOf(config.cases["img2img_pndm"]!).generate(run);
    return (await pictures.data()) as Float32Array;
  };

  test("a picture does not depend on its batch, and each may begin with its own", async () => {
    using rgb = firstPicture(device);
    using both = firstPicture(device);
    const init = { rgb, strength: 0.5 };
    const together = await draw({ init, seeds: 5 });
    const half = together.length / 2;
    const alone = await draw({
      init,
      prompts: [config.prompts[1]!],
      seeds: [{ seed: 5, index: 1 }],
      negativePrompt: "sky, ...",
    });
    expect(deviation(alone, together.subarray(half))).toBeLessThan(1e-5);
    expect(await draw({ init: { ...init, rgb: both }, seeds: 5 })).toEqual(together);
    expect(deviation(await draw({ init: { rgb, strength: 0.9 }, seeds: 5 }), together)).toBeGreaterThan(1e-2);
  });

  test("what does not fit is refused", async () => {
    using rgb = firstPicture(device);
    using three = tensor(device, new Float32Array(3 * 3 * 16 * 16), [3, 3, 16, 16]);
    using odd = tensor(device, new Float32Array(3 * 15 * 16), [1, 3, 15, 16]);
    await expect(draw({ init: { rgb, strength: 0 } })).rejects.toThrow(/strength: 0 is not above 0/);
    await expect(draw({ init: { rgb, strength: 0.05 } })).rejects.toThrow(/0\.05 of 10 steps leaves none/);
    await expect(draw({ init: { rgb: three, strength: 0.5 } })).rejects.toThrow(ShapeError);
    await expect(draw({ init: { rgb: odd, strength: 0.5 } })).rejects.toThrow(
      /15 x 16 pixels; both must be multiples of 4/,
    );
    await expect(draw({ init: { rgb, strength: 0.5 }, size: [32, 32] })).rejects.toThrow(
      /the picture to begin with is 16 x 16/,
    );
    const prk = { ...config.cases["img2img_pndm"]!, ...config.cases["pndm_prk"]! };
    await expect(pipelineOf(prk).generate({ ...optionsOf(prk), init: { rgb, strength: 0.5 } })).rejects.toThrow(
      /skip_prk_steps/,
    );
  });
});

test("a codec says which classes there are", async () => {
  const folder = memoryFolder(new Map(), "vae");
  await folder.writeJson("config.json", { _class_name: "VQModel" });
  await expect(loadCodec(folder, device)).rejects.toThrow(/class VQModel is not supported, only AutoencoderKL, /);
});
