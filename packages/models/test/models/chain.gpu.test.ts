/** ReFL's whole gradient path against PyTorch: reward, resize and normalisation, pixel shuffle, clean-picture estimate, UNet weights. */
import { backward, gradOf, requireGrad } from "@refl/autograd";
import { type Device, scope, type Tensor } from "@refl/tensor";
import { beforeAll, expect, test } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { BlipRewardModel } from "../../src/models/blip.ts";
import { PixelCodec } from "../../src/models/pixel-codec.ts";
import { UNet2DConditionModel } from "../../src/models/unet.ts";
import { predictOriginal } from "../../src/pipelines/scheduler-step.ts";
import type { StepCoefficients } from "../../src/schedulers/noise-schedule.ts";
import { deviation, expectGradients, Golden, goldenConfig, tooFar } from "./golden.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

interface ChainConfig {
  readonly prediction_type: "epsilon" | "sample" | "v_prediction";
  readonly alpha_bar: number;
  readonly loss: { readonly hinge: number; readonly scale: number };
  readonly unet: object;
  readonly reward: Record<string, unknown>;
}

function estimate({ prediction_type, alpha_bar }: ChainConfig): StepCoefficients {
  const [signal, sigma] = [Math.sqrt(alpha_bar), Math.sqrt(1 - alpha_bar)];
  const predOriginal = {
    epsilon: { sample: 1 / signal, output: -sigma / signal },
    sample: { sample: 0, output: 1 },
    v_prediction: { sample: signal, output: -sigma },
  }[prediction_type];
  return {
    timestep: 0,
    prevTimestep: -1,
    predOriginal,
    clip: null,
    prev: { original: 0, sample: 0, output: 0, noise: 0 },
  };
}

test.each(["epsilon", "sample", "v_prediction"])("chain with %s prediction", async (prediction) => {
  const name = `chain_tiny_${prediction}`;
  const golden = await Golden.open(name);
  const config = goldenConfig(name) as unknown as ChainConfig;
  const { vision, text, embed_dim, head, mean, std } = config.reward;
  const unet = new UNet2DConditionModel(config.unet);
  unet.loadStateDict(golden.weights("unet."), { device });
  const reward = new BlipRewardModel({ vision, text, embed_dim, head, mean, std, max_length: 12 });
  reward.loadStateDict(golden.weights("reward."), { device });
  reward.eval().requiresGrad(false);
  const codec = new PixelCodec({ factor: 2 });
  const sample = requireGrad(golden.tensor(device, "input.sample"));
  const states = requireGrad(golden.tensor(device, "input.encoder_hidden_states"));
  const timestep = golden.tensor(device, "input.timestep").to("f32");
  const ids = golden.tensor(device, "input.input_ids");
  const mask = golden.tensor(device, "input.attention_mask");
  const outputs: Record<string, Tensor> = scope(() => {
    const model_output = unet.forward(sample, timestep, states);
    const x0 = predictOriginal(estimate(config), sample, model_output);
    const image = codec.decode(x0);
    const pixels = reward.preprocess(image);
    const rewards = reward.forward(pixels, ids, mask);
    const loss = rewards.neg().add(config.loss.hinge).relu().mean().mul(config.loss.scale);
    backward(loss);
    return { model_output, x0, image, pixels, reward: rewards, loss };
  });
  const deviations = new Map<string, number>();
  for (const [key, output] of Object.entries(outputs)) {
    deviations.set(`output.${key}`, deviation((await output.data()) as Float32Array, golden.values(`output.${key}`)));
    output.dispose();
  }
  for (const [key, input] of Object.entries({ sample, encoder_hidden_states: states })) {
    const gradient = (await gradOf(input)!.data()) as Float32Array;
    deviations.set(`grad.${key}`, deviation(gradient, golden.values(`grad.${key}`)));
  }
  expect(tooFar(deviations, 1e-4)).toEqual({});
  await expectGradients(golden, unet.namedParameters(), 1e-4, "unet.");
  expect(reward.parameters().every((parameter) => parameter.grad === null)).toBe(true);
  unet.dispose();
  reward.dispose();
});
