/** ReFL's pictures: drawn without gradient to a late step of the sampler, and from there in one step that carries the gradient. */
import { noGrad } from "@refl/autograd";
import {
  predictOriginal,
  previousSample,
  type StepCoefficients,
  singleStepScheduler,
  type TextToImagePipeline,
} from "@refl/models";
import { full, type HostTensor, type HostTensors, randn, scope, type Tensor } from "@refl/tensor";
import { intAt, streamOf } from "../data/random.ts";
import { pictureWords } from "./streams.ts";

const GRADED = streamOf("graded step");

/** The graded step of training step `step`: an index into the sampler's timesteps, uniform over the last `window` (the repository's 30…39 of 40). */
export function gradedIndex(seed: number, step: number, samplerSteps: number, window: number): number {
  const width = Math.min(window, samplerSteps);
  return samplerSteps - width + intAt(seed, GRADED, step, width);
}

/** What the pictures are drawn from. */
export type GradedInputs = {
  /** Prompts, [B, tokens] i32. */
  readonly promptIds: Tensor;
  /** Words of the first noise, [B, 4] u32; a sampler with noise of its own also has those of its steps, `drawNoise0`, `drawNoise1`, … */
  readonly drawNoise: Tensor;
  readonly [step: `drawNoise${number}`]: Tensor;
};

function coefficients(pipeline: TextToImagePipeline, samplerSteps: number): StepCoefficients[] {
  const scheduler = singleStepScheduler(pipeline.scheduler);
  return Array.from(scheduler.setTimesteps(samplerSteps), (t) => scheduler.stepCoefficients(t));
}

/** The data of pictures first, first + 1, …: their noise is a function of the seed and their numbers. */
export function gradedData(
  pipeline: TextToImagePipeline,
  prompts: readonly string[],
  seed: number,
  first: number,
  samplerSteps: number,
  graded: number,
): HostTensors<GradedInputs> {
  const words = (use: string): HostTensor => pictureWords(seed, use, first, prompts.length);
  const noisy = coefficients(pipeline, samplerSteps).flatMap(({ prev }, i) => (i < graded && prev.noise ? [i] : []));
  return {
    promptIds: pipeline.tokenIds(prompts),
    drawNoise: words("refl start"),
    ...Object.fromEntries(noisy.map((i) => [`drawNoise${i}`, words(`refl step ${i}`)])),
  };
}

/**
 * One-step pictures with a gradient (arXiv 2304.05977, algorithm 1): from noise down to the graded step without gradient, there one answer of
 * the UNet with gradient, from it straight to x0 by the scheduler's closed form, and through the codec to pictures [B, 3, height, width] in 0..1.
 */
export function gradedPictures(
  pipeline: TextToImagePipeline,
  inputs: GradedInputs,
  samplerSteps: number,
  graded: number,
  [height, width]: readonly [height: number, width: number] = pipeline.defaultSize,
): Tensor {
  const { device, unet, codec, textEncoder } = pipeline;
  const { factor } = codec.config;
  const shape = [inputs.promptIds.shape[0]!, codec.latentChannels, height / factor, width / factor];
  const steps = coefficients(pipeline, samplerSteps);
  const states = noGrad(() => textEncoder.forward(inputs.promptIds));
  const time = (i: number): Tensor => full(device, [1], steps[i]!.timestep);
  let latents = randn(device, shape, inputs.drawNoise);
  for (let i = 0; i < graded; i++) {
    const before = latents;
    const words = inputs[`drawNoise${i}`];
    latents = noGrad(() =>
      scope(() => {
        const noise = words ? randn(device, shape, words) : null;
        return previousSample(steps[i]!, before, unet.forward(before, time(i), states), noise);
      }),
    );
    before.dispose();
  }
  const answer = unet.forward(latents, time(graded), states);
  return codec.decode(predictOriginal(steps[graded]!, latents, answer));
}
