/** Models where a binding holds less than their tensors: the same results and gradients as at once, and the released models within what every device binds. */
import { backward, gradOf, noGrad, requireGrad } from "@refl/autograd";
import {
  capture,
  createDevice,
  type Device,
  DryDevice,
  ones,
  PhiloxStream,
  randn,
  scope,
  Tensor,
  tensor,
} from "@refl/tensor";
import { nodeHost } from "@refl/tensor/node";
import { afterAll, describe, expect, test } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { AutoencoderKL } from "../../src/models/autoencoder-kl.ts";
import { SD1_VAE_CONFIG } from "../../src/models/autoencoder-kl-config.ts";
import { AutoencoderTiny } from "../../src/models/autoencoder-tiny.ts";
import { BlipRewardModel } from "../../src/models/blip.ts";
import { IMAGE_REWARD_CONFIG } from "../../src/models/blip-config.ts";
import { CLIPModel } from "../../src/models/clip.ts";
import { CLIP_VIT_L_14_CONFIG } from "../../src/models/clip-config.ts";
import { UNet2DConditionModel } from "../../src/models/unet.ts";
import { Dropout } from "../../src/nn/dropout.ts";
import type { Module } from "../../src/nn/module.ts";
import { inParts } from "../../src/nn/parts.ts";
import { withRandom } from "../../src/nn/random.ts";
import { fillSeeded } from "../../src/nn/seeded.ts";
import { deviation, goldenConfig, read, tooFar } from "./golden.ts";

type AnyModule = Module<never[], unknown>;
type Inputs = Readonly<Record<string, Tensor>>;

/** What every WebGPU device binds. */
const EVERY_DEVICE = 2 ** 27;

const devices = new Map<number, Device>();
/** A device that binds no more than `bytes`. */
async function narrowDevice(bytes: number): Promise<Device> {
  let device = devices.get(bytes);
  if (!device) devices.set(bytes, (device = await createDevice({ host: nodeHost(), largestBinding: bytes })));
  return device;
}
afterAll(() => {
  for (const device of devices.values()) device.dispose();
});

interface Case {
  /** Bytes that the narrow device binds: less than the largest tensor at once, no less than the largest weight. */
  readonly narrow: number;
  readonly make: () => AnyModule;
  readonly inputs: (device: Device) => Inputs;
  readonly forward: (model: AnyModule, inputs: Inputs) => readonly Tensor[];
}

function modelCase<Model extends AnyModule>(
  narrow: number,
  make: () => Model,
  inputs: (device: Device) => Inputs,
  forward: (model: Model, inputs: Inputs) => readonly Tensor[],
): Case {
  return { narrow, make, inputs, forward: (model, given) => forward(model as Model, given) };
}

const BATCH = 5;

/** Random numbers that ask for a gradient. */
const leaf = (device: Device, stream: number, ...shape: number[]): Tensor =>
  requireGrad(randn(device, shape, new PhiloxStream(5, stream)));

const TOKENS = 7;
const integers = (device: Device, value: (sample: number, token: number) => number): Tensor => {
  const values = Array.from({ length: BATCH * TOKENS }, (_, i) => value(Math.floor(i / TOKENS), i % TOKENS));
  return tensor(device, Int32Array.from(values), [BATCH, TOKENS]);
};
const ids = (device: Device): Tensor => integers(device, (sample, token) => (13 * sample + 5 * token) % 58);
const mask = (device: Device): Tensor => integers(device, (sample, token) => (token <= sample + 2 ? 1 : 0));

const unet = (checkpointed: boolean): Case =>
  modelCase(
    2 ** 19,
    () =>
      new UNet2DConditionModel({
        block_out_channels: [32, 48],
        down_block_types: ["CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D"],
        layers_per_block: 1,
        cross_attention_dim: 16,
        attention_head_dim: 4,
        norm_num_groups: 8,
      }).enableGradientCheckpointing(checkpointed),
    (device) => ({
      sample: leaf(device, 0, BATCH, 4, 24, 24),
      states: leaf(device, 1, BATCH, TOKENS, 16),
      times: tensor(device, [1, 200, 400, 600, 800]),
      time: tensor(device, [500]),
      mask: mask(device),
    }),
    (model, { sample, states, times, time, mask }) => [
      model.forward(sample!, times!, states!, { encoderMask: mask! }),
      model.forward(sample!, time!, states!),
    ],
  );

const { text, vision, embed_dim, head } = goldenConfig("blip_reward_tiny")["model"] as Record<string, unknown>;

const CASES: Readonly<Record<string, Case>> = {
  "the UNet in parts of the batch, its feed-forward nets in parts of the rows": unet(false),
  "the same with its blocks computed again on the way back": unet(true),
  ImageReward: modelCase(
    16_384,
    () => new BlipRewardModel({ text, vision, embed_dim, head, max_length: 12 }).eval(),
    (device) => ({ image: leaf(device, 0, BATCH, 3, 16, 16), ids: ids(device), mask: mask(device) }),
    (model, { image, ids, mask }) => [model.rawReward(model.encodeImage(image!), ids!, mask!)],
  ),
  CLIP: modelCase(
    9216,
    () => new CLIPModel(goldenConfig("clip_tiny")["model"]),
    (device) => ({ pixels: leaf(device, 0, BATCH, 3, 12, 12), ids: ids(device) }),
    (model, { pixels, ids }) => [model.imageFeatures(pixels!), model.textFeatures(ids!)],
  ),
  "AutoencoderKL in parts of the batch and bands of rows": modelCase(
    16_384,
    () => new AutoencoderKL(goldenConfig("autoencoder_kl_tiny")["model"]),
    (device) => ({ image: leaf(device, 0, 3, 3, 16, 16), latents: leaf(device, 1, 3, 4, 4, 4) }),
    (model, { image, latents }) => {
      const { mean, logvar } = model.encode(image!);
      return [mean, logvar, model.decode(latents!)];
    },
  ),
};

/** Outputs, and gradients of their sum weighted with random numbers, by name. */
async function results(device: Device, item: Case): Promise<Map<string, Float32Array>> {
  const model = fillSeeded(item.make(), device);
  const inputs = item.inputs(device);
  const outputs = scope(() => {
    const made = item.forward(model, inputs);
    const terms = made.map((output, i) => output.mul(randn(device, output.shape, new PhiloxStream(6, i))).sum());
    backward(terms.reduce((a, b) => a.add(b)));
    return made;
  });
  const found = new Map<string, Float32Array>();
  for (const [i, output] of outputs.entries()) found.set(`output ${i}`, await read(output));
  for (const [name, input] of [...Object.entries(inputs), ...model.namedParameters()]) {
    const gradient = gradOf(input);
    if (gradient) found.set(name, await read(gradient));
  }
  for (const made of [...outputs, ...Object.values(inputs), model]) made.dispose();
  return found;
}

/** A key's bias adds the same to all scores of a query: its gradient is zero in exact arithmetic, and rounding is compared on the scale of the others. */
const KEY_BIAS = /(key|k_proj|to_k)\.bias$/;

const largest = (values: Float32Array): number => values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);

describe("in parts as at once", () => {
  test.each(Object.keys(CASES))("%s", async (name) => {
    const item = CASES[name]!;
    const wide = await testDevice();
    const dry = new DryDevice(wide);
    await results(dry, item);
    expect(dry.largest.bytes).toBeGreaterThan(item.narrow);
    dry.dispose();
    const whole = await results(wide, item);
    const parts = await results(await narrowDevice(item.narrow), item);
    expect([...parts.keys()]).toEqual([...whole.keys()]);
    const most = Math.max(...[...whole.values()].map(largest));
    const far = [...whole].map(([key, values]): [string, number] => {
      const share = KEY_BIAS.test(key) ? Math.min(1, largest(values) / most) : 1;
      return [key, share * deviation(parts.get(key)!, values)];
    });
    expect(tooFar(new Map(far), 2e-5)).toEqual({});
  });

  test("a captured pass", async () => {
    const { narrow, make, inputs, forward } = unet(false);
    const device = await narrowDevice(narrow);
    const model = fillSeeded(make(), device).requiresGrad(false);
    const given = inputs(device);
    const specs = Object.fromEntries(Object.entries(given).map(([name, { shape, dtype }]) => [name, { shape, dtype }]));
    const run = (from: Inputs) => noGrad(() => ({ predicted: forward(model, from)[0]! }));
    const plan = capture(device, specs, run);
    const expected = scope(() => run(given).predicted);
    expect(await read(plan.replay(given)["predicted"]!)).toEqual(await read(expected));
    for (const made of [plan, expected, model, ...Object.values(given)]) made.dispose();
  });
});

test("dropout draws for every part anew", async () => {
  const device = await narrowDevice(8192);
  const net = new Dropout(0.5);
  const x = ones(device, [64, 32]);
  const drop = () => inParts([x], 64, (part) => net.forward(part));
  const dropped = scope(() => withRandom(new PhiloxStream(1, 2), drop));
  const values = await read(dropped);
  expect(values.slice(0, 1024)).not.toEqual(values.slice(1024));
  const again = scope(() => withRandom(new PhiloxStream(1, 2), drop));
  expect(await read(again)).toEqual(values);
  for (const made of [x, dropped, again]) made.dispose();
});

interface Released {
  readonly make: () => AnyModule;
  readonly forward: (model: AnyModule, device: Device) => Tensor;
}

function released<Model extends AnyModule>(
  make: () => Model,
  forward: (model: Model, device: Device) => Tensor,
): Released {
  return { make, forward: (model, device) => forward(model as Model, device) };
}

const input = (device: Device, ...shape: number[]): Tensor => requireGrad(Tensor.empty(device, shape));
const words = (device: Device, ...shape: number[]): Tensor => Tensor.empty(device, shape, "i32");

const sd1 = (batch: number, side: number): Released =>
  released(
    () => new UNet2DConditionModel({ cross_attention_dim: 768 }),
    (model, device) => model.forward(input(device, batch, 4, side, side), time(device), input(device, batch, 77, 768)),
  );
const time = (device: Device): Tensor => Tensor.empty(device, [1]);

const autoencoder = (make: () => AutoencoderKL | AutoencoderTiny, batch: number, side: number): Released =>
  released(make, (model, device) => {
    const image = model.decode(input(device, batch, 4, side / 8, side / 8));
    const encoded = model.encode(input(device, batch, 3, side, side));
    return image.mean().add((encoded instanceof Tensor ? encoded : encoded.mean).mean());
  });
const kl = () => new AutoencoderKL(SD1_VAE_CONFIG);

const imageReward = (batch: number): Released =>
  released(
    () => new BlipRewardModel(IMAGE_REWARD_CONFIG).eval(),
    (model, device) =>
      model.rawReward(
        model.encodeImage(input(device, batch, 3, 224, 224)),
        words(device, batch, 35),
        words(device, batch, 35),
      ),
  );

const RELEASED: Readonly<Record<string, Released>> = {
  "Stable Diffusion's UNet, 8 pictures of 512 pixels": sd1(8, 64),
  "Stable Diffusion's UNet, 8 pictures of 512 pixels with guidance": sd1(16, 64),
  "Stable Diffusion's UNet, 2 pictures of 768 pixels with guidance": sd1(4, 96),
  "Stable Diffusion's UNet, a picture of 1024 pixels": sd1(1, 128),
  "AutoencoderKL, 2 pictures of 512 pixels": autoencoder(kl, 2, 512),
  "AutoencoderKL, a picture of 768 pixels": autoencoder(kl, 1, 768),
  "TAESD, 8 pictures of 512 pixels": autoencoder(() => new AutoencoderTiny(), 8, 512),
  "ImageReward, 64 pictures": imageReward(64),
  "CLIP ViT-L/14, 64 pictures and texts": released(
    () => new CLIPModel(CLIP_VIT_L_14_CONFIG),
    (model, device) => model.forward(input(device, 64, 3, 224, 224), words(device, 64, 77)),
  ),
};

describe("128 MiB are enough, forward and backward, for", () => {
  test.each(Object.keys(RELEASED))("%s", async (name) => {
    const { make, forward } = RELEASED[name]!;
    const dry = new DryDevice(await narrowDevice(EVERY_DEVICE));
    const model = make();
    for (const [key, slot] of model.namedSlots()) slot.allocate(dry, key);
    scope(() => backward(forward(model, dry).mean()));
    expect(dry.largest.bytes).toBeLessThanOrEqual(EVERY_DEVICE);
    dry.dispose();
  });
});
