/** What pictures go through before a model learns to compare them: noise, since reward models are asked about blurred one-step pictures that no sampler ever shows, and small shifts. */
import { type HostTensors, randn, type Tensor } from "@refl/tensor";
import { column, pictureWords, uniforms } from "./streams.ts";

/** What noise is mixed from. */
export type NoiseInputs = {
  /** Factors [B, 1, 1, 1] of picture and noise. */
  readonly keptShare: Tensor;
  readonly noiseShare: Tensor;
  /** Words of the noise, [B, 4] u32. */
  readonly noiseWords: Tensor;
};

/** Shares of noise, uniform up to `most`, for pictures first, first + 1, … of `use`: a function of (seed, use, number). */
export function noiseData(
  most: number,
  seed: number,
  use: string,
  first: number,
  count: number,
): HostTensors<NoiseInputs> {
  const shares = uniforms(seed, `${use} share`, first, count).map((u) => u * most);
  return {
    keptShare: column(shares.map((s) => Math.sqrt(1 - s * s))),
    noiseShare: column(shares),
    noiseWords: pictureWords(seed, use, first, count),
  };
}

/** √(1 − s²) x + s ε about middle grey, s the share of noise, clamped to 0..1. Pictures [B, 3, H, W] in 0..1. */
export function mixNoise(pictures: Tensor, { keptShare, noiseShare, noiseWords }: NoiseInputs): Tensor {
  const drawn = randn(pictures.device, pictures.shape, noiseWords, { std: 0.5 });
  return pictures.sub(0.5).mul(keptShare).add(drawn.mul(noiseShare)).add(0.5).clamp(0, 1);
}

/** A picture, HWC bytes of size × size × 3, moved by whole pixels, its edges repeated. */
export function shifted(rgb: Uint8Array, size: number, across: number, down: number): Uint8Array {
  if (across === 0 && down === 0) return rgb;
  const inside = (at: number): number => Math.min(size - 1, Math.max(0, at));
  const out = new Uint8Array(rgb.length);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const from = 3 * (inside(y - down) * size + inside(x - across));
      out.set(rgb.subarray(from, from + 3), 3 * (y * size + x));
    }
  }
  return out;
}
