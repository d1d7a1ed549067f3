/** Every model at a small size against PyTorch: outputs, gradients of inputs and of all weights within 1e-4. */
import { gradOf, requireGrad } from "@refl/autograd";
import { crossEntropy, type Device, scope, tensor } from "@refl/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { BlipPretrainingModel, BlipRewardModel } from "../../src/models/blip.ts";
import { CLIPTextModel } from "../../src/models/clip-text.ts";
import { UNet2DConditionModel } from "../../src/models/unet.ts";
import { check, deviation, expectGradients, Golden, goldenConfig, read, TOLERANCE, tooFar } from "./golden.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

function blipConfig(name: string): Record<string, unknown> {
  const { vision, text, embed_dim, head, mean, std } = goldenConfig(name)["model"] as Record<string, unknown>;
  return { vision, text, embed_dim, head, mean, std, max_length: 12 };
}

function pretrainingConfig(name: string): Record<string, unknown> {
  const { vision, text, embed_dim, max_length } = blipConfig(name);
  return { vision, text, embed_dim, max_length };
}

describe("UNet2DConditionModel", () => {
  async function run(name: string, load: (unet: UNet2DConditionModel, golden: Golden) => void, checkpointing = false) {
    const golden = await Golden.open(name);
    const unet = new UNet2DConditionModel(goldenConfig(name)["model"]).enableGradientCheckpointing(checkpointing);
    load(unet, golden);
    const sample = requireGrad(golden.tensor(device, "input.sample"));
    const encoder_hidden_states = requireGrad(golden.tensor(device, "input.encoder_hidden_states"));
    const timesteps = golden.tensor(device, "input.timestep").to("f32");
    await check(device, golden, { sample, encoder_hidden_states }, () => ({
      sample: unet.forward(sample, timesteps, encoder_hidden_states),
    }));
    return { golden, unet };
  }
  const stored = (unet: UNet2DConditionModel, golden: Golden) => {
    unet.loadStateDict(golden.weights(), { device });
  };

  test.each(["unet_tiny", "unet_nomid"])("%s", async (name) => {
    const { golden, unet } = await run(name, stored);
    await expectGradients(golden, unet.namedParameters(), TOLERANCE);
    unet.dispose();
  });

  test("gradients do not change with checkpointing", async () => {
    const { golden, unet } = await run("unet_tiny", stored, true);
    await expectGradients(golden, unet.namedParameters(), TOLERANCE);
    unet.dispose();
  });

  test("unet_emoji", async () => {
    const rules = goldenConfig("unet_emoji")["weights"] as Record<string, Rule>;
    const { golden, unet } = await run("unet_emoji", (model, { entries }) => {
      const drawn = Object.entries(rules).map(([key, rule]) => [key, hashedWeight(key, rule)] as const);
      for (const [key, values] of drawn) {
        const head = new Float32Array(entries.get(`param_head.${key}`)!.bytes.slice().buffer);
        expect([...values.subarray(0, head.length)]).toEqual([...head]);
      }
      model.loadStateDict(new Map(drawn.map(([key, values]) => [key, tensor(device, values, rules[key]!.shape)])));
    });
    const deviations = new Map<string, number>();
    for (const [key, parameter] of unet.namedParameters()) {
      const gradient = await read(gradOf(parameter)!);
      const norm = golden.values(`gradparam_norm.${key}`)[0]!;
      const head = golden.values(`gradparam_head.${key}`);
      const own = Math.sqrt(gradient.reduce((sum, x) => sum + x * x, 0));
      const largest = gradient.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      deviations.set(`norm of ${key}`, Math.abs(own - norm) / norm);
      deviations.set(`head of ${key}`, Math.max(...head.map((x, i) => Math.abs(gradient[i]! - x))) / largest);
    }
    expect(tooFar(deviations, TOLERANCE)).toEqual({});
    unet.dispose();
  });
});

interface Rule {
  readonly shape: readonly number[];
  readonly offset: number;
  readonly bits: number;
  readonly exponent: number;
}

/** The weight `key` by the rule of `reference/README.md`. */
function hashedWeight(key: string, { shape, offset, bits, exponent }: Rule): Float32Array {
  let seed = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(key)) seed = Math.imul(seed ^ byte, 0x01000193);
  return Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => {
    let x = (seed + Math.imul(i, 0x9e3779b9)) >>> 0;
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
    x = (x ^ (x >>> 16)) >>> 0;
    return offset + ((x >>> (32 - bits)) - 2 ** (bits - 1)) * 2 ** exponent;
  });
}

test("CLIPTextModel", async () => {
  const golden = await Golden.open("clip_text_tiny");
  const model = new CLIPTextModel(goldenConfig("clip_text_tiny")["model"]);
  model.loadStateDict(golden.weights(), { device });
  const ids = golden.tensor(device, "input.input_ids");
  await check(device, golden, {}, () => ({ last_hidden_state: model.forward(ids) }));
  await expectGradients(golden, model.namedParameters(), TOLERANCE);
  model.dispose();
});

describe("BLIP", () => {
  const pairs = (golden: Golden) => ({
    image: requireGrad(golden.tensor(device, "input.image")),
    ids: golden.tensor(device, "input.input_ids"),
    mask: golden.tensor(device, "input.attention_mask"),
  });

  test("reward", async () => {
    const name = "blip_reward_tiny";
    const golden = await Golden.open(name);
    const model = new BlipRewardModel(blipConfig(name)).eval();
    model.loadStateDict(golden.weights(), { device });
    const { image, ids, mask } = pairs(golden);
    await check(device, golden, { image }, () => {
      const image_embeds = model.encodeImage(image);
      const raw = model.rawReward(image_embeds, ids, mask);
      return { image_embeds, raw, reward: model.normalise(raw), hidden: model.blip.features(image_embeds, ids, mask) };
    });
    await expectGradients(golden, model.namedParameters(), TOLERANCE);
    const reward = await read(scope(() => model.reward(image, ids, mask)));
    expect(deviation(reward, golden.values("output.reward"))).toBeLessThan(TOLERANCE);
    model.dispose();
  });

  test("contrastive features", async () => {
    const name = "blip_itc_tiny";
    const golden = await Golden.open(name);
    const model = new BlipPretrainingModel(pretrainingConfig(name));
    model.loadStateDict(golden.weights("blip."), { device });
    const { image, ids, mask } = pairs(golden);
    const diagonal = tensor(device, Int32Array.of(0, 1, 2));
    await check(device, golden, { image }, () => {
      const features = model.itcFeatures(model.visual_encoder.forward(image), ids, mask);
      const logits = model.itcLogits(features);
      const loss = crossEntropy(logits, diagonal)
        .add(crossEntropy(logits.transpose(0, 1), diagonal))
        .mul(0.5);
      return { image_features: features.image, text_features: features.text, logits, loss };
    });
    await expectGradients(golden, model.namedParameters(), TOLERANCE, "blip.");
    model.dispose();
  });

  test("matching", async () => {
    const name = "blip_itm_tiny";
    const golden = await Golden.open(name);
    const model = new BlipPretrainingModel(pretrainingConfig(name));
    model.loadStateDict(golden.weights("blip."), { device });
    const { image, ids, mask } = pairs(golden);
    const labels = golden.tensor(device, "input.labels");
    await check(device, golden, { image }, () => {
      const logits = model.forward(image, ids, mask);
      return { logits, loss: crossEntropy(logits, labels) };
    });
    await expectGradients(golden, model.namedParameters(), TOLERANCE, "blip.");
    model.dispose();
  });
});
