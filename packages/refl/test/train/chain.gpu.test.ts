/** The gradient through the whole chain (reward, BLIP, resize, clamp, x0, one UNet pass) against central differences of the reward loss. */
import { backward, gradOf, isGradEnabled, noGrad, type Parameter } from "@refl/autograd";
import { readTensors, type TextToImagePipeline } from "@refl/models";
import { type Device, keep, PhiloxStream, scope, type Tensor, toDevice } from "@refl/tensor";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { shapes16 } from "../../src/data/shapes16.ts";
import { newPipeline } from "../../src/models.ts";
import type { ImageReward } from "../../src/scorers/image-reward.ts";
import { gradedData, gradedPictures } from "../../src/train/graded.ts";
import { goldenLatents, latentModels } from "./reference-run.ts";
import { tinyReward } from "./tiny.ts";

const PROMPTS = ["a big red circle on a blue background", "small green square, white background"];
const SEED = 4;
const STEPS = 6;
const GRADED = 4;

let device: Device;
let pipeline: TextToImagePipeline;
let scorer: ImageReward;
let prompts: readonly string[];
beforeAll(async () => {
  device = await testDevice();
});
beforeEach(() => {
  prompts = PROMPTS;
  // Pictures of 16 x 16 are scored at 12 x 12: the anti-aliased resize has work to do.
  scorer = tinyReward(device, { imageSize: 12, textScale: 0.15 });
  scorer.model.requiresGrad(false);
  scorer.model.mean = 0.1;
  scorer.model.std = 0.3;
});
afterEach(() => {
  vi.restoreAllMocks();
  pipeline.dispose();
  scorer.model.dispose();
});

function open(prediction: "epsilon" | "sample" | "v_prediction"): Map<string, Parameter> {
  pipeline = newPipeline(shapes16, device, 2, prediction);
  pipeline.textEncoder.requiresGrad(false);
  const weights = pipeline.unet.namedParameters();
  noGrad(() =>
    scope(() => {
      for (const [key, weight] of weights) {
        // Fresh attention looks everywhere alike, which would leave queries without a gradient to speak of.
        if (/to_[qk]\.weight$/.test(key)) weight.copy_(weight.mul(4));
        // Some pixels outside 0..1, so that the clamps act.
        if (/conv_out\.weight$/.test(key)) weight.copy_(weight.mul(1.7));
      }
    }),
  );
  return weights;
}

/** The same chain by way of an autoencoder's latents. */
function openLatents(): Map<string, Parameter> {
  scorer.model.dispose();
  ({ pipeline, scorer } = latentModels(device));
  for (const frozen of [pipeline.textEncoder, pipeline.codec.model!, scorer.model]) frozen.requiresGrad(false);
  prompts = goldenLatents.prompts.slice(2, 4);
  return pipeline.unet.namedParameters();
}

const picturesAt = (graded: number): Tensor =>
  gradedPictures(pipeline, toDevice(device, gradedData(pipeline, prompts, SEED, 0, STEPS, graded)), STEPS, graded);
const rewardsOf = (pictures: Tensor): Tensor => scorer.scoreTensor(prompts, pictures);
/** ReFL's loss with λ = 1. */
const lossOf = (pictures: Tensor): Tensor => rewardsOf(pictures).neg().add(2).relu().mean();

/** Gradients of the loss by weight, and the pictures that it was taken at. */
async function gradients(weights: ReadonlyMap<string, Parameter>) {
  const seen = scope(() => {
    const pictures = picturesAt(GRADED);
    backward(lossOf(pictures));
    return keep(pictures.detach());
  });
  const [pictures] = await readTensors([seen]);
  seen.dispose();
  const values = await readTensors([...weights.values()].map((weight) => gradOf(weight)!));
  return { pictures: pictures!, gradients: new Map([...weights.keys()].map((key, i) => [key, values[i]!])) };
}

/**
 * From now on the UNet answers before the graded step what it answers at present: ReFL's gradient takes what leads there as given, and the
 * differences must do so too. Returns the answers, to be disposed of.
 */
function holdEarlierAnswers(): Tensor[] {
  const held: Tensor[] = [];
  const forward = pipeline.unet.forward.bind(pipeline.unet);
  const spy = vi.spyOn(pipeline.unet, "forward");
  spy.mockImplementation((...args) => {
    const answer = forward(...args);
    held.push(keep(answer.clone()));
    return answer;
  });
  noGrad(() => scope(() => void picturesAt(GRADED)));
  let pass = 0;
  spy.mockImplementation((...args) => {
    const place = pass++ % (GRADED + 1);
    return place < GRADED ? held[place]!.alias() : forward(...args);
  });
  return held;
}

/** The loss at the weights as they are; the mean over pictures is taken in f64. */
async function lossNow(): Promise<number> {
  const rewards = noGrad(() => scope(() => keep(rewardsOf(picturesAt(GRADED)))));
  const values = [...(await rewards.data())];
  rewards.dispose();
  return values.reduce((sum, r) => sum + Math.max(0, 2 - r), 0) / values.length;
}

/** (L(w + h d) − L(w − h d)) / 2h for a direction d on some weights, which are put back. */
async function centralDifference(weights: readonly Parameter[], direction: readonly Float32Array[], h: number) {
  const start = await readTensors(weights);
  const moveBy = (step: number): void => {
    for (const [i, weight] of weights.entries()) weight.write_(start[i]!.map((w, k) => w + step * direction[i]![k]!));
  };
  moveBy(h);
  const above = await lossNow();
  moveBy(-h);
  const below = await lossNow();
  moveBy(0);
  return (above - below) / (2 * h);
}

const largest = (values: Float32Array): number =>
  values.reduce((at, x, i) => (Math.abs(x) > Math.abs(values[at]!) ? i : at), 0);

const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);

describe("the reward's gradient in the UNet's weights", () => {
  const WEIGHTS = [
    "conv_in.weight",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight",
    "down_blocks.0.attentions.0.transformer_blocks.0.norm1.weight",
    "down_blocks.0.resnets.0.conv1.weight",
    "down_blocks.0.resnets.0.time_emb_proj.weight",
    "time_embedding.linear_1.weight",
    "conv_out.weight",
  ];

  it("equals central differences, weight by weight", async () => {
    const weights = open("sample");
    const { gradients: analytic, pictures } = await gradients(weights);
    const saturated = pictures.filter((x) => x === 0 || x === 1).length / pictures.length;
    expect(saturated).toBeGreaterThan(0.02);
    expect(saturated).toBeLessThan(0.3);
    const held = holdEarlierAnswers();
    const errors: Record<string, number> = {};
    for (const key of WEIGHTS) {
      const gradient = analytic.get(key)!;
      const at = largest(gradient);
      const direction = new Float32Array(gradient.length);
      direction[at] = 1;
      // A step of 2e-3 changes the loss by 1e-4 and more, a thousand times its rounding.
      const difference = await centralDifference([weights.get(key)!], [direction], 2e-3);
      errors[key] = Math.abs(difference - gradient[at]!) / Math.abs(gradient[at]!);
    }
    for (const t of held) t.dispose();
    expect(Object.keys(errors)).toEqual(WEIGHTS);
    expect(Object.entries(errors).filter(([, error]) => !(error <= 1e-2))).toEqual([]);
  });

  it.each(["sample", "epsilon", "v_prediction"] as const)(
    "equals differences along random directions over all weights, %s prediction",
    async (prediction) => {
      const weights = open(prediction);
      const { gradients: analytic } = await gradients(weights);
      const all = [...analytic.values()];
      const norm = Math.hypot(...all.map((gradient) => Math.hypot(...gradient)));
      const held = holdEarlierAnswers();
      const errors: number[] = [];
      for (let k = 0; k < 2; k++) {
        const stream = new PhiloxStream(9, k);
        let drawn = 0;
        const direction = all.map((gradient) => gradient.map(() => (stream.word(drawn++) & 1 ? 1 : -1)));
        const expected = all.reduce((sum, gradient, i) => sum + dot(gradient, direction[i]!), 0);
        // Along a direction of ±1 the slope is a normal number times the norm. The step moves few pixels over the clamp's edges.
        const difference = await centralDifference([...weights.values()], direction, 1e-5);
        errors.push(Math.abs(difference - expected) / norm);
      }
      for (const t of held) t.dispose();
      expect(Math.max(...errors)).toBeLessThan(1e-2);
    },
  );
});

describe("the reward's gradient by way of an autoencoder's latents", () => {
  it.each(["conv_in", "down_blocks", "mid_block", "up_blocks", "conv_out"])(
    "equals differences in %s",
    async (part) => {
      const weights = openLatents();
      const { gradients: analytic, pictures } = await gradients(weights);
      const saturated = pictures.filter((x) => x === 0 || x === 1).length / pictures.length;
      expect(saturated).toBeGreaterThan(0.02);
      expect(saturated).toBeLessThan(0.3);
      const keys = [...weights.keys()].filter((key) => key.startsWith(`${part}.`));
      const norm = Math.hypot(...keys.map((key) => Math.hypot(...analytic.get(key)!)));
      const held = holdEarlierAnswers();
      // Along the part's own gradient the slope is its norm. The step changes the loss by a thousand times its rounding.
      const direction = keys.map((key) => analytic.get(key)!.map((x) => x / norm));
      const difference = await centralDifference(
        keys.map((key) => weights.get(key)!),
        direction,
        1e-3 / norm,
      );
      for (const t of held) t.dispose();
      expect(Math.abs(difference / norm - 1)).toBeLessThan(1e-2);
    },
  );
});

describe("the passes before the graded step", () => {
  it("keep nothing for gradients: memory is that of one pass", () => {
    const weights = open("sample");
    const forward = pipeline.unet.forward.bind(pipeline.unet);
    const enabled: boolean[] = [];
    vi.spyOn(pipeline.unet, "forward").mockImplementation((...args) => {
      enabled.push(isGradEnabled());
      return forward(...args);
    });
    const figures = (graded: number) => {
      enabled.length = 0;
      const before = device.memory().inUse;
      device.resetPeak();
      const held = scope(() => {
        const loss = lossOf(picturesAt(graded));
        const { inUse } = device.memory();
        backward(loss);
        return inUse - before;
      });
      const { peak } = device.memory();
      for (const weight of weights.values()) {
        expect(gradOf(weight)).not.toBeNull();
        weight.leaf.clear();
      }
      return { held, peak: peak - before, left: device.memory().inUse - before, enabled: [...enabled] };
    };
    // The first use puts the reward model's constants on the device.
    figures(0);
    const [first, third, last] = [0, 2, STEPS - 1].map(figures) as ReturnType<typeof figures>[];
    expect([first!.enabled, third!.enabled, last!.enabled]).toEqual([
      [true],
      [false, false, true],
      [false, false, false, false, false, true],
    ]);
    for (const { held, peak, left } of [third!, last!]) {
      expect(left).toBe(0);
      expect(held / first!.held).toBeLessThan(1.01);
      expect(peak / first!.peak).toBeLessThan(1.01);
    }
  });
});
