/** The denoising loss: pictures are noised at drawn times, and the model's answer is compared with what it should have predicted there. */
import { drawTimestep, type LossWeighting, lossWeight, type TextToImagePipeline } from "@refl/models";
import { randn, type Tensor, tensor } from "@refl/tensor";
import { pictureStreams, uniforms } from "./streams.ts";

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

/**
 * mean_i w(t_i) · mean ‖target_i − model(x_t, t_i, caption_i)‖² (Ho et al. 2020; targets by the scheduler's prediction type).
 * Gradients reach whatever asks for them: the UNet always, the text encoder unless it is frozen.
 */
export function denoisingLoss(
  pipeline: TextToImagePipeline,
  batch: DenoisingBatch,
  seed: number,
  options: ObjectiveOptions,
): Tensor {
  const { unet, scheduler, codec } = pipeline;
  const { device } = pipeline;
  const count = batch.captions.length;
  const size = Math.sqrt(batch.rgb.length / count / 3);
  const times = uniforms(seed, "training time", batch.first, count).map((u) =>
    drawTimestep(u, options.timestepShift, scheduler.config.num_train_timesteps),
  );
  const column = (values: number[]): Tensor => tensor(device, values, [count, 1, 1, 1]);
  const latents = codec.encode(tensor(device, batch.rgb, [count, 3, size, size]));
  const noise = randn(device, latents.shape, pictureStreams(seed, "training noise", batch.first, count));
  const mix = times.map((t) => scheduler.addNoiseCoefficients(t));
  const noisy = latents
    .mul(column(mix.map(([original]) => original)))
    .add(noise.mul(column(mix.map(([, noised]) => noised))));
  const wanted = times.map((t) => scheduler.targetCoefficients(t));
  const target = latents.mul(column(wanted.map((m) => m.original))).add(noise.mul(column(wanted.map((m) => m.noise))));
  const answer = unet.forward(noisy, tensor(device, times, [count]), pipeline.encodePrompt(batch.captions));
  const weights = column(times.map((t) => lossWeight(scheduler, t, options.weighting)));
  return answer.sub(target).square().mul(weights).mean();
}
