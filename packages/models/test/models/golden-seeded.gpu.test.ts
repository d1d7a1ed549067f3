/** CLIP and the autoencoders against transformers and diffusers at small sizes, on seeded weights; what exceeds a binding gives the same results. */
import { requireGrad } from "@refl/autograd";
import { createDevice, type Device, type Tensor } from "@refl/tensor";
import { nodeHost } from "@refl/tensor/node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { AutoencoderKL } from "../../src/models/autoencoder-kl.ts";
import { AutoencoderTiny } from "../../src/models/autoencoder-tiny.ts";
import { fitBands } from "../../src/models/bands.ts";
import { CLIPModel } from "../../src/models/clip.ts";
import type { Module } from "../../src/nn/module.ts";
import { fillSeeded, seededWeight } from "../../src/nn/seeded.ts";
import { check, expectGradients, Golden, goldenConfig, TOLERANCE } from "./golden.ts";

/** Bytes to which the narrow device's bindings are limited: below the golden models' activations and CLIP's token table, above all their weights. */
const NARROW = 16_384;

let device: Device;
let narrow: Device;
beforeAll(async () => {
  device = await testDevice();
  narrow = await createDevice({ host: nodeHost(), largestBinding: NARROW });
});
afterAll(() => narrow.dispose());

/** Makes, fills and runs a model on a device; `forward` gives the outputs of the golden file. */
async function run<Model extends Module<never[], unknown>>(
  on: Device,
  name: string,
  make: (config: unknown) => Model,
  forward: (model: Model, inputs: Record<string, Tensor>) => Record<string, Tensor>,
  gradients = true,
): Promise<void> {
  const golden = await Golden.open(name);
  const model = fillSeeded(make(goldenConfig(name)["model"]), on);
  const inputs: Record<string, Tensor> = {};
  for (const key of golden.below("input.").keys()) {
    const input = golden.tensor(on, `input.${key}`);
    inputs[key] = golden.entries.get(`input.${key}`)!.dtype === "F32" ? requireGrad(input) : input;
  }
  await check(on, golden, inputs, () => forward(model, inputs));
  if (gradients) await expectGradients(golden, model.namedParameters(), TOLERANCE);
  model.dispose();
}

const clip = (model: CLIPModel, { pixels, input_ids }: Record<string, Tensor>) => {
  const [image, text] = [model.imageFeatures(pixels!), model.textFeatures(input_ids!)];
  return { image_tokens: model.vision_model.forward(pixels!), logits: model.logits(image, text) };
};

const kl = (model: AutoencoderKL, { image, latents }: Record<string, Tensor>) => ({
  ...model.encode(image!),
  image: model.decode(latents!),
});

const tiny = (model: AutoencoderTiny, { image, latents }: Record<string, Tensor>) => ({
  latents: model.encode(image!),
  image: model.decode(latents!),
});

describe("against the reference", () => {
  test.each(["clip_tiny", "clip_tiny_legacy"])("CLIPModel: %s", async (name) => {
    await run(device, name, (config) => new CLIPModel(config), clip);
  });

  test("AutoencoderKL", async () => {
    await run(device, "autoencoder_kl_tiny", (config) => new AutoencoderKL(config), kl);
  });

  test("AutoencoderTiny", async () => {
    await run(device, "autoencoder_tiny_tiny", (config) => new AutoencoderTiny(config), tiny);
  });
});

describe("where a binding holds less than a tensor", () => {
  test("pictures are worked off in bands", async () => {
    const golden = await Golden.open("autoencoder_kl_tiny");
    const image = golden.tensor(narrow, "input.image");
    expect(fitBands([image], 8, 1, 4).map(({ shape }) => shape[2])).toEqual([4, 4, 4, 4]);
    await run(narrow, "autoencoder_kl_tiny", (config) => new AutoencoderKL(config), kl);
    await run(narrow, "autoencoder_tiny_tiny", (config) => new AutoencoderTiny(config), tiny);
  });

  test("a table is kept in parts", async () => {
    await run(narrow, "clip_tiny", (config) => wide(config), clip, false);
  });

  /** The golden model with a table of 300 rows, 38 KB, of which the first 60 are the golden one's. */
  function wide(config: unknown): CLIPModel {
    const { text_config, ...rest } = config as { text_config: object };
    return new CLIPModel({ ...rest, text_config: { ...text_config, vocab_size: 300 } });
  }

  test("parts have the values of the whole", async () => {
    const model = fillSeeded(wide(goldenConfig("clip_tiny")["model"]), narrow);
    const key = "text_model.embeddings.token_embedding.weight";
    const names = [...model.namedParameters().keys()].filter((name) => name.startsWith(key));
    expect(names).toEqual([0, 100, 200].map((first) => `${key}[${first}:${first + 100}]`));
    expect(() => model.text_model.embeddings.token_embedding.weight.value).toThrow(/kept in 3 parts/);
    const entries = await model.entries();
    for (const { name, shape, bytes } of entries) {
      expect(new Float32Array(bytes.slice().buffer), name).toEqual(seededWeight(name, shape));
    }
    const again = new CLIPModel(model.config);
    again.loadStateDict(new Map(entries.map((entry) => [entry.name, entry])), { device: narrow });
    expect((await again.entries()).map(({ bytes }) => bytes)).toEqual(entries.map(({ bytes }) => bytes));
    model.dispose();
    again.dispose();
  });
});
