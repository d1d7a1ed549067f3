/** The scorer: tokens, rewards in any batch, normalisation, and gradients that reach the pictures alone. */
import { backward, gradOf, requireGrad } from "@refl/autograd";
import { type Device, randn, ShapeError, scope, tensor } from "@refl/tensor";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { shapes16 } from "../../src/data/shapes16.ts";
import { trainPrompts } from "../../src/data/splits/train.ts";
import { taskTokenizer } from "../../src/models.ts";
import { type ImageReward, tokenize } from "../../src/scorers/image-reward.ts";
import { pictureStreams } from "../../src/train/streams.ts";
import { firstDifference, tinyReward } from "../train/tiny.ts";

let device: Device;
let scorer: ImageReward;
beforeAll(async () => {
  device = await testDevice();
});
beforeEach(() => {
  scorer = tinyReward(device, { textScale: 0.1 });
});
afterEach(() => scorer.model.dispose());

const pixels = async (count: number, size = 16): Promise<Float32Array> => {
  const drawn = scope(() =>
    randn(device, [count, 3, size, size], pictureStreams(1, "picture", 0, count), { std: 0.3 })
      .add(0.5)
      .clamp(0, 1)
      .alias(),
  );
  const values = (await drawn.data()) as Float32Array;
  drawn.dispose();
  return values;
};

describe("tokenize", () => {
  it("pads all texts to one length and masks the padding", async () => {
    const tokenizer = taskTokenizer(shapes16);
    const { ids, mask } = tokenize(device, tokenizer, ["a big red circle", "ring"]);
    expect(ids.shape).toEqual([2, tokenizer.maxLength]);
    const [rows, masks] = [[...(await ids.data())], [...(await mask.data())]];
    expect(rows.slice(0, tokenizer.maxLength)).toEqual([...tokenizer.encode("a big red circle").ids]);
    expect(masks.slice(tokenizer.maxLength)).toEqual([1, 1, 1, ...new Array(tokenizer.maxLength - 3).fill(0)]);
    ids.dispose();
    mask.dispose();
  });
});

describe("ImageReward", () => {
  const prompts = trainPrompts(shapes16, 70, 1).map(({ text }) => text);

  it("gives each picture its reward whatever is scored beside it", async () => {
    // 70 pictures are more than it takes at once.
    const rgb = await pixels(70);
    const before = device.memory().inUse;
    const all = await scorer.score(prompts, rgb, 16);
    await scorer.score(prompts.slice(0, 1), rgb.subarray(0, 768), 16);
    const held = device.memory().inUse;
    const part = await scorer.score(prompts.slice(60, 66), rgb.subarray(60 * 768, 66 * 768), 16);
    expect(firstDifference(part, all.slice(60, 66))).toBe(-1);
    expect(device.memory().inUse).toBe(held);
    expect(held - before).toBeLessThan(4096);
    expect(new Set(all).size).toBe(70);
    expect(await scorer.score([], new Float32Array(0), 16)).toHaveLength(0);
  });

  it("asks about the prompt as well as the picture", async () => {
    const rgb = await pixels(1);
    const [one] = await scorer.score(["a big red circle"], rgb, 16);
    const [two] = await scorer.score(["small green square, white background"], rgb, 16);
    expect(one).not.toBe(two);
  });

  it("normalises raw rewards by the model's mean and deviation", async () => {
    const rgb = await pixels(4);
    const raw = await scorer.score(prompts.slice(0, 4), rgb, 16);
    scorer.model.mean = 0.25;
    scorer.model.std = 0.5;
    const normalised = await scorer.score(prompts.slice(0, 4), rgb, 16);
    for (const [i, r] of raw.entries()) expect(normalised[i]).toBeCloseTo((r - 0.25) / 0.5, 5);
  });

  it("hands gradients to pictures of another size, and to no frozen weight", async () => {
    const rgb = await pixels(2, 24);
    scorer.model.requiresGrad(false);
    const pictures = requireGrad(tensor(device, rgb, [2, 3, 24, 24]));
    scope(() => backward(scorer.scoreTensor(prompts.slice(0, 2), pictures).sum()));
    const gradient = await gradOf(pictures)!.data();
    expect(gradient.length).toBe(rgb.length);
    expect(gradient.every(Number.isFinite)).toBe(true);
    expect(gradient.filter((x) => x !== 0).length).toBeGreaterThan(0.99 * rgb.length);
    expect(scorer.model.parameters().every((weight) => weight.grad === null)).toBe(true);
    pictures.dispose();
  });

  it("refuses another number of prompts than of pictures", () => {
    const pictures = tensor(device, new Float32Array(2 * 768), [2, 3, 16, 16]);
    expect(() => scorer.scoreTensor(["only one"], pictures)).toThrow(ShapeError);
    pictures.dispose();
  });
});
