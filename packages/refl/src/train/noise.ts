/** Noise mixed into pictures that a model learns to compare: reward models are asked about blurred one-step pictures, which no sampler ever shows. */
import { randn, type Tensor, tensor } from "@refl/tensor";
import { pictureStreams, uniforms } from "./streams.ts";

/**
 * √(1 − s²) x + s ε about middle grey, s uniform up to `most` for each picture, clamped to 0..1. Pictures [B, 3, H, W] in 0..1 are numbers
 * first … first + B − 1 of `use`: their noise is a function of (seed, use, number).
 */
export function mixNoise(pictures: Tensor, most: number, seed: number, use: string, first: number): Tensor {
  const { device } = pictures;
  const count = pictures.shape[0]!;
  const shares = uniforms(seed, `${use} share`, first, count).map((u) => u * most);
  const column = (values: number[]): Tensor => tensor(device, values, [count, 1, 1, 1]);
  const drawn = randn(device, pictures.shape, pictureStreams(seed, use, first, count), { std: 0.5 });
  return pictures
    .sub(0.5)
    .mul(column(shares.map((s) => Math.sqrt(1 - s * s))))
    .add(drawn.mul(column(shares)))
    .add(0.5)
    .clamp(0, 1);
}
