/** The small models and the parts without a golden file: codec, preprocessing, classifier, reward head, folders, dropout in training. */
import { backward, gradOf, noGrad, requireGrad } from "@refl/autograd";
import { type Device, PhiloxStream, rand, randn, ShapeError, scope, type Tensor, tensor } from "@refl/tensor";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { memoryFolder } from "../../src/formats/folder.ts";
import { BlipRewardModel, RewardHead } from "../../src/models/blip.ts";
import { ConvClassifier } from "../../src/models/classifier.ts";
import { loadModel, saveModel } from "../../src/models/folder.ts";
import { ImagePreprocessor } from "../../src/models/image-preprocessor.ts";
import { PixelCodec } from "../../src/models/pixel-codec.ts";
import { withRandom } from "../../src/nn/random.ts";
import { deviation } from "./golden.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

async function values(fn: () => Tensor): Promise<Float32Array> {
  const made = noGrad(() => scope(fn));
  try {
    return (await made.data()) as Float32Array;
  } finally {
    made.dispose();
  }
}

const stream = (number: number) => new PhiloxStream(11, number);

describe("PixelCodec", () => {
  test("decodes what it encodes", async () => {
    const sizes = fc.tuple(
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 1, max: 4 }),
    );
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat(1000), async ([factor, batch, side], number) => {
        const codec = new PixelCodec({ factor });
        const shape = [batch, 3, side * factor, (side + 1) * factor];
        const rgb = await values(() => rand(device, shape, stream(number)));
        const latents = await values(() => codec.encode(tensor(device, rgb, shape)));
        expect(latents.every((x) => x >= -1 && x <= 1)).toBe(true);
        expect(deviation(await values(() => codec.decode(codec.encode(tensor(device, rgb, shape)))), rgb)).toBeLessThan(
          1e-6,
        );
      }),
      { numRuns: 10 },
    );
  });

  test("refuses sizes that the factor does not divide", () => {
    const codec = new PixelCodec({ factor: 2 });
    scope(() => expect(() => codec.encode(rand(device, [1, 3, 5, 4], stream(0)))).toThrow(ShapeError));
    scope(() => expect(() => codec.decode(rand(device, [1, 3, 4, 4], stream(0)))).toThrow(/\[B, 12, H, W\]/));
  });
});

describe("ImagePreprocessor", () => {
  test("cuts out the centre and normalises by channel", async () => {
    const preprocessor = new ImagePreprocessor(2, [0.1, 0.2, 0.3], [0.5, 1, 2]);
    const pixels = Float32Array.from({ length: 3 * 2 * 5 }, (_, i) => i / 30);
    const found = await values(() => preprocessor.forward(tensor(device, pixels, [1, 3, 2, 5])));
    // (5 − 2)/2 = 1.5 rounds to the even 2, as Python's round does.
    const expected = [0, 1, 2].flatMap((c) =>
      [0, 1].flatMap((y) => [2, 3].map((x) => (pixels[(c * 2 + y) * 5 + x]! - [0.1, 0.2, 0.3][c]!) / [0.5, 1, 2][c]!)),
    );
    expect(deviation(found, expected)).toBeLessThan(1e-6);
    preprocessor.dispose();
  });

  test("resizes the short side and keeps a flat colour", async () => {
    const preprocessor = new ImagePreprocessor(6, [0, 0, 0], [1, 1, 1]);
    for (const antialias of [true, false]) {
      preprocessor.antialias = antialias;
      const found = await values(() => preprocessor.forward(rand(device, [2, 3, 15, 9], stream(1)).mul(0).add(0.25)));
      expect(found.length).toBe(2 * 3 * 6 * 6);
      expect(
        deviation(
          found,
          found.map(() => 0.25),
        ),
      ).toBeLessThan(1e-6);
    }
    scope(() => expect(() => preprocessor.forward(rand(device, [1, 4, 8, 8], stream(0)))).toThrow(ShapeError));
    preprocessor.dispose();
  });
});

test("the classifier's scores are its features through the head, and it learns", async () => {
  const model = new ConvClassifier({ channels: [8, 16], num_classes: 5 }).initialize(device, 3);
  const image = rand(device, [2, 3, 8, 8], stream(2));
  const [features, scores] = [await values(() => model.features(image)), await values(() => model.forward(image))];
  expect([features.length, scores.length]).toEqual([2 * 16, 2 * 5]);
  expect(await values(() => model.head.forward(tensor(device, features, [2, 16])))).toEqual(scores);
  scope(() => backward(model.forward(image).square().sum()));
  for (const parameter of model.parameters())
    expect(((await gradOf(parameter)!.data()) as Float32Array).some((x) => x !== 0)).toBe(true);
  image.dispose();
  model.dispose();
});

test("a fresh reward head keeps the features' scale, the paper's loses it", async () => {
  const scale = async (init: "plateau-free" | "paper"): Promise<number> => {
    const head = new RewardHead(64, [64, 32, 16, 8, 1], [0, 0, 0], init).initialize(device, 5);
    const rewards = await values(() => head.forward(randn(device, [256, 64], stream(3))));
    head.dispose();
    return Math.sqrt(rewards.reduce((sum, x) => sum + x * x, 0) / rewards.length);
  };
  expect(await scale("plateau-free")).toBeGreaterThan(0.1);
  expect(await scale("paper")).toBeLessThan(1e-3);
});

const REWARD = {
  vision: { image_size: 8, patch_size: 4, embed_dim: 16, depth: 2, num_heads: 2, drop_path_rate: 0.5 },
  text: {
    vocab_size: 10,
    hidden_size: 16,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    intermediate_size: 16,
    max_position_embeddings: 5,
    hidden_dropout_prob: 0.1,
  },
  embed_dim: 4,
  max_length: 5,
  head: [8, 1],
};

describe("BlipRewardModel", () => {
  const ask = (model: BlipRewardModel): Tensor => {
    const image = randn(device, [2, 3, 8, 8], stream(4));
    const ids = tensor(device, Int32Array.of(1, 2, 3, 0, 0, 1, 4, 5, 6, 3), [2, 5]);
    return model.reward(image, ids, ids.ne(0).to("i32"));
  };

  test("opens from its folder with its mean and deviation", async () => {
    const model = new BlipRewardModel(REWARD).initialize(device, 7).eval();
    Object.assign(model, { mean: -0.5, std: 2 });
    const folder = memoryFolder();
    await saveModel(model, folder, { path: "reward" });
    const opened = await loadModel((config, file) => new BlipRewardModel(config, file), folder, device, {
      path: "reward",
    });
    expect([opened.mean, opened.std, opened.training]).toEqual([-0.5, 2, false]);
    expect(await values(() => ask(opened))).toEqual(await values(() => ask(model)));
    model.dispose();
    opened.dispose();
  });

  test("drops out in training, the same for the same stream", async () => {
    const model = new BlipRewardModel(REWARD).initialize(device, 7);
    const drawn = (number: number) => values(() => withRandom(stream(number), () => ask(model)));
    expect(await drawn(1)).toEqual(await drawn(1));
    expect(await drawn(1)).not.toEqual(await drawn(2));
    model.dispose();
  });

  test("padding does not change the reward, and a pixel does", async () => {
    const model = new BlipRewardModel(REWARD).initialize(device, 7).eval();
    const image = requireGrad(randn(device, [1, 3, 8, 8], stream(4)));
    const padded = (pad: number) => tensor(device, Int32Array.of(1, 2, 3, pad, pad), [1, 5]);
    const mask = tensor(device, Int32Array.of(1, 1, 1, 0, 0), [1, 5]);
    const [a, b] = [
      await values(() => model.forward(image, padded(0), mask)),
      await values(() => model.forward(image, padded(9), mask)),
    ];
    expect(a).toEqual(b);
    scope(() => backward(model.forward(image, padded(0), mask)));
    expect(((await gradOf(image)!.data()) as Float32Array).every((x) => x !== 0)).toBe(true);
    model.dispose();
  });
});
