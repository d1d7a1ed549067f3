/** Classifier-free guidance: away from what the model says without the prompt. */
import { DataError, type Tensor } from "@refl/tensor";

export interface GuidanceOptions {
  /** w of out = without + w · (given − without) (Ho & Salimans 2022, arXiv 2207.12598). */
  readonly scale: number;
  /**
   * Share, 0 to 1, of the guided output that is brought back to the deviation of `given`, against overexposed pictures (arXiv 2305.08891,
   * eq. 15 and 16). Default 0.
   */
  readonly rescale?: number;
}

/**
 * without, given: the model's outputs [B, …] without and with the prompt → the guided output, [B, …]. Has gradients.
 * @throws DataError when `rescale` is outside [0, 1]
 */
export function guide(without: Tensor, given: Tensor, { scale, rescale = 0 }: GuidanceOptions): Tensor {
  if (!(rescale >= 0 && rescale <= 1))
    throw new DataError("sample", 0, "guidanceRescale", `${rescale} is not from 0 to 1`);
  const guided = without.add(given.sub(without).mul(scale));
  if (rescale === 0) return guided;
  const axes = given.shape.map((_, axis) => axis).slice(1);
  const deviation = (x: Tensor): Tensor => x.var(axes, 1, true).sqrt();
  return guided.mul(
    deviation(given)
      .div(deviation(guided))
      .mul(rescale)
      .add(1 - rescale),
  );
}
