/** Gradient checkpointing of the models: the same bits as without it, in less memory. */
import { backward, grad, requireGrad } from "@refl/autograd";
import {
  capture,
  cat,
  createDevice,
  type Device,
  DryDevice,
  PhiloxStream,
  randn,
  scope,
  Tensor,
  tensor,
} from "@refl/tensor";
import { nodeHost } from "@refl/tensor/node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { AutoencoderKL } from "../../src/models/autoencoder-kl.ts";
import { SD1_VAE_CONFIG } from "../../src/models/autoencoder-kl-config.ts";
import { AutoencoderTiny } from "../../src/models/autoencoder-tiny.ts";
import { BlipRewardModel } from "../../src/models/blip.ts";
import { CLIPModel } from "../../src/models/clip.ts";
import { CLIPTextModel } from "../../src/models/clip-text.ts";
import { UNet2DConditionModel } from "../../src/models/unet.ts";
import type { Module } from "../../src/nn/module.ts";
import { fillSeeded } from "../../src/nn/seeded.ts";
import { goldenConfig, read } from "./golden.ts";

type AnyModule = Module<never[], unknown>;
type Inputs = Readonly<Record<string, Tensor>>;

let device: Device;
let narrow: Device;
beforeAll(async () => {
  device = await testDevice();
  narrow = await createDevice({ host: nodeHost(), largestBinding: 16_384 });
});
afterAll(() => narrow.dispose());

interface Case {
  readonly make: () => AnyModule;
  readonly inputs: (device: Device) => Inputs;
  readonly forward: (model: AnyModule, inputs: Inputs) => Tensor;
}

function modelCase<Model extends AnyModule>(
  make: () => Model,
  inputs: (device: Device) => Inputs,
  forward: (model: Model, inputs: Inputs) => Tensor,
): Case {
  return { make, inputs, forward: (model, given) => forward(model as Model, given) };
}

const drawn = (on: Device, stream: number, ...shape: number[]): Tensor => randn(on, shape, new PhiloxStream(5, stream));
const ids = (on: Device, batch: number): Tensor =>
  tensor(
    on,
    Int32Array.from({ length: batch * 7 }, (_, i) => (13 * i) % 58),
    [batch, 7],
  );

const { text, vision, embed_dim, head } = goldenConfig("blip_reward_tiny")["model"] as Record<string, unknown>;
const kl = () => new AutoencoderKL(goldenConfig("autoencoder_kl_tiny")["model"]);

const CASES: Readonly<Record<string, Case>> = {
  UNet2DConditionModel: modelCase(
    () => new UNet2DConditionModel(goldenConfig("unet_tiny")["model"]),
    (on) => ({ sample: drawn(on, 0, 2, 4, 8, 8), states: drawn(on, 1, 2, 7, 24), time: tensor(on, [300]) }),
    (model, { sample, states, time }) => model.forward(sample!, time!, states!),
  ),
  "AutoencoderKL, decoding": modelCase(
    kl,
    (on) => ({ latents: drawn(on, 0, 1, 4, 4, 4) }),
    (model, { latents }) => model.decode(latents!.to(model.decoder.conv_in.weight.value.dtype)).to("f32"),
  ),
  "AutoencoderKL, encoding": modelCase(
    kl,
    (on) => ({ image: drawn(on, 0, 1, 3, 16, 16) }),
    (model, { image }) => model.encode(image!.to(model.encoder.conv_in.weight.value.dtype)).mean.to("f32"),
  ),
  AutoencoderTiny: modelCase(
    () => new AutoencoderTiny(goldenConfig("autoencoder_tiny_tiny")["model"]),
    (on) => ({ latents: drawn(on, 0, 2, 4, 4, 4) }),
    (model, { latents }) => model.decode(latents!),
  ),
  ImageReward: modelCase(
    () => new BlipRewardModel({ text, vision, embed_dim, head, max_length: 12 }).eval(),
    (on) => ({
      image: drawn(on, 0, 2, 3, 16, 16),
      ids: ids(on, 2),
      mask: tensor(on, new Int32Array(14).fill(1), [2, 7]),
    }),
    (model, { image, ids, mask }) => model.rawReward(model.encodeImage(image!), ids!, mask!),
  ),
  "CLIP, pictures": modelCase(
    () => new CLIPModel(goldenConfig("clip_tiny")["model"]),
    (on) => ({ pixels: drawn(on, 0, 2, 3, 12, 12) }),
    (model, { pixels }) => model.imageFeatures(pixels!),
  ),
  CLIPTextModel: modelCase(
    () => new CLIPTextModel(goldenConfig("clip_text_tiny")["model"]),
    (on) => ({ ids: ids(on, 2) }),
    (model, { ids }) => model.forward(ids!),
  ),
};

/** What depends on the model: the output, gradients of inputs that have them, and those of all weights that train. */
function outcome(item: Case, model: AnyModule, given: Inputs): Record<string, Tensor> {
  const inputs = Object.fromEntries(
    Object.entries(given).map(([name, t]) => [name, t.dtype === "f32" && t.rank > 1 ? requireGrad(t.detach()) : t]),
  );
  const output = item.forward(model, inputs);
  const loss = output.square().sum();
  const weights = [...model.namedParameters()].filter(([, p]) => p.requiresGrad);
  const leaves: [string, Tensor][] = [...Object.entries(inputs).filter(([, t]) => t.history), ...weights];
  const gradients = grad(
    loss,
    leaves.map(([, leaf]) => leaf),
  );
  return { output: output.detach(), ...Object.fromEntries(gradients.map((g, i) => [`d ${leaves[i]![0]}`, g])) };
}

type Values = Record<string, Float32Array>;

async function valuesOf(made: Readonly<Record<string, Tensor>>): Promise<Values> {
  const values: Values = {};
  for (const [name, t] of Object.entries(made)) {
    values[name] = await read(t);
  }
  return values;
}

async function results(on: Device, item: Case, model: AnyModule): Promise<Values> {
  const given = item.inputs(on);
  const made = scope(() => outcome(item, model, given));
  const values = await valuesOf(made);
  for (const t of [...Object.values(made), ...Object.values(given)]) t.dispose();
  return values;
}

describe.each(Object.keys(CASES))("%s", (name) => {
  const item = CASES[name]!;

  test("all gradients", async () => {
    const model = fillSeeded(item.make(), device);
    const plain = await results(device, item, model);
    expect(await results(device, item, model.enableGradientCheckpointing())).toEqual(plain);
    expect(Object.values(plain).every((values) => values.every(Number.isFinite))).toBe(true);
    model.dispose();
  });

  test("captured and replayed", async () => {
    const model = fillSeeded(item.make(), device);
    const plain = await results(device, item, model);
    model.enableGradientCheckpointing();
    const given = item.inputs(device);
    const specs = Object.fromEntries(Object.entries(given).map(([key, { shape, dtype }]) => [key, { shape, dtype }]));
    const plan = capture(device, specs, (inputs: Inputs) => outcome(item, model, inputs));
    for (let i = 0; i < 2; i++) expect(await valuesOf(plan.replay(given))).toEqual(plain);
    plan.dispose();
    for (const t of Object.values(given)) t.dispose();
    model.dispose();
  });
});

test.each(["UNet2DConditionModel", "AutoencoderKL, decoding", "AutoencoderKL, encoding", "ImageReward"])(
  "%s frozen and in f16",
  async (name) => {
    const item = CASES[name]!;
    const model = fillSeeded(item.make(), device).requiresGrad(false);
    model.computeFrozen("f16");
    const plain = await results(device, item, model);
    expect(await results(device, item, model.enableGradientCheckpointing())).toEqual(plain);
    expect(Object.keys(plain)).toHaveLength(name === "UNet2DConditionModel" ? 3 : 2);
    model.dispose();
  },
);

describe("AutoencoderKL, decoding 3 pictures", () => {
  const pictures = modelCase(
    kl,
    (on) => ({ latents: drawn(on, 0, 3, 4, 4, 4) }),
    (model, { latents }) => model.decode(latents!),
  );
  const single = modelCase(kl, pictures.inputs, (model, { latents }) =>
    cat(
      Array.from({ length: 3 }, (_, i) => model.decode(latents!.slice(0, i, i + 1))),
      0,
    ),
  );

  test("as one by one", async () => {
    const model = fillSeeded(kl(), device);
    const plain = await results(device, single, model);
    expect(await results(device, pictures, model.enableGradientCheckpointing())).toEqual(plain);
    model.dispose();
  });

  test("in bands of rows", async () => {
    const model = fillSeeded(kl(), narrow);
    const plain = await results(narrow, pictures, model);
    expect(await results(narrow, pictures, model.enableGradientCheckpointing())).toEqual(plain);
    model.dispose();
  });
});

describe("memory of the released models, over their weights", () => {
  /** Bytes at the peak of a forward and a backward pass with a gradient to the input alone. */
  function peak(model: AnyModule, forward: (dry: Device) => Tensor): number {
    const dry = new DryDevice(device);
    model.requiresGrad(false);
    for (const [key, slot] of model.namedSlots()) slot.allocate(dry, key);
    const before = dry.memory().inUse;
    scope(() => backward(forward(dry).mean()));
    const { peak: most } = dry.memory();
    dry.dispose();
    return most - before;
  }
  const input = (dry: Device, ...shape: number[]): Tensor => requireGrad(Tensor.empty(dry, shape));
  const decode = (batch: number, checkpointed: boolean): number => {
    const vae = new AutoencoderKL(SD1_VAE_CONFIG).enableGradientCheckpointing(checkpointed);
    return peak(vae, (dry) => vae.decode(input(dry, batch, 4, 64, 64)));
  };
  const predict = (checkpointed: boolean): number => {
    const unet = new UNet2DConditionModel({ cross_attention_dim: 768 }).enableGradientCheckpointing(checkpointed);
    return peak(unet, (dry) =>
      unet.forward(input(dry, 2, 4, 64, 64), Tensor.empty(dry, [1]), Tensor.empty(dry, [2, 77, 768])),
    );
  };

  test("decoding pictures of 512 pixels takes that of one, whatever their number", () => {
    const [one, eight] = [decode(1, true), decode(8, true)];
    expect(one).toBeLessThan(0.6 * decode(1, false));
    expect(eight).toBeLessThan(1.02 * one);
  });

  test("the UNet takes a third", () => expect(predict(true)).toBeLessThan(predict(false) / 3));
});
