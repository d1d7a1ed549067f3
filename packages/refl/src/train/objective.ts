/** The denoising loss: pictures are noised at drawn times, and the model's answer is compared with what it should have predicted there. */
import { drawTimestep, type LossWeighting, lossWeight, type TextToImagePipeline } from "@refl/models";
import { type HostTensors, randn, type Tensor } from "@refl/tensor";
import { column, pictureWords, uniforms } from "./streams.ts";

export interface ObjectiveOptions {
  /** Shift s of the drawn times towards noise, t' = s t / (1 + (s − 1) t); 1 draws them evenly. */
  readonly timestepShift: number;
  readonly weighting: LossWeighting;
}

/** Training examples on the host, pictures first … first + count − 1 of a source. */
export interface DenoisingBatch {
  /** [B, 3, S, S] in 0..1. */
  readonly rgb: Float32Array;
  readonly captions: readonly string[];
  /** Number of the first picture: times and noise are functions of the seed and the picture's number. */
  readonly first: number;
}

/** What the loss is computed from: everything that differs from step to step. */
export type DenoisingInputs = {
  /** [B, 3, S, S] in 0..1. */
  readonly rgb: Tensor;
  /** Captions, [B, tokens] i32. */
  readonly ids: Tensor;
  /** [B]. */
  readonly times: Tensor;
  /** Words of the noise, [B, 4] u32. */
  readonly noise: Tensor;
  /** Factors [B, 1, 1, 1]: of picture and noise in what the model sees, and in what it should answer, and of each picture's loss. */
  readonly seenPicture: Tensor;
  readonly seenNoise: Tensor;
  readonly wantedPicture: Tensor;
  readonly wantedNoise: Tensor;
  readonly weights: Tensor;
};

/** The data of one step's loss: times and noise are drawn for each picture by its number. */
export function denoisingData(
  pipeline: TextToImagePipeline,
  batch: DenoisingBatch,
  seed: number,
  options: ObjectiveOptions,
): HostTensors<DenoisingInputs> {
  const { scheduler } = pipeline;
  const count = batch.captions.length;
  const size = Math.sqrt(batch.rgb.length / count / 3);
  const times = uniforms(seed, "training time", batch.first, count).map((u) =>
    drawTimestep(u, options.timestepShift, scheduler.config.num_train_timesteps),
  );
  const seen = times.map((t) => scheduler.addNoiseCoefficients(t));
  const wanted = times.map((t) => scheduler.targetCoefficients(t));
  return {
    rgb: { values: batch.rgb, shape: [count, 3, size, size] },
    ids: pipeline.tokenIds(batch.captions),
    times: { values: times, shape: [count] },
    noise: pictureWords(seed, "training noise", batch.first, count),
    seenPicture: column(seen.map(([original]) => original)),
    seenNoise: column(seen.map(([, noised]) => noised)),
    wantedPicture: column(wanted.map((m) => m.original)),
    wantedNoise: column(wanted.map((m) => m.noise)),
    weights: column(times.map((t) => lossWeight(scheduler, t, options.weighting))),
  };
}

/**
 * mean_i w(t_i) · mean ‖target_i − model(x_t, t_i, caption_i)‖² (Ho et al. 2020; targets by the scheduler's prediction type).
 * Gradients reach whatever asks for them: the UNet always, the text encoder unless it is frozen.
 */
export function denoisingLoss({ unet, textEncoder, codec }: TextToImagePipeline, inputs: DenoisingInputs): Tensor {
  const latents = codec.encode(inputs.rgb);
  const noise = randn(latents.device, latents.shape, inputs.noise);
  const noisy = latents.mul(inputs.seenPicture).add(noise.mul(inputs.seenNoise));
  const target = latents.mul(inputs.wantedPicture).add(noise.mul(inputs.wantedNoise));
  const answer = unet.forward(noisy, inputs.times, textEncoder.forward(inputs.ids));
  return answer.sub(target).square().mul(inputs.weights).mean();
}
