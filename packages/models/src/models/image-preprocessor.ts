/** Pictures as reward models take them: short side resized, centre cut out, colours normalised, with gradients. */
import { resize, ShapeError, type Tensor } from "@refl/tensor";
import { Constant } from "../nn/constant.ts";
import { Module } from "../nn/module.ts";

/**
 * image: [B, 3, H, W] in [0, 1] → [B, 3, size, size]. Bicubic with anti-aliasing as scoring does (a = −0.5), in floating point: no rounding to
 * 8 bits and no clamp, so values may leave [0, 1] a little before they are normalised. Throws ShapeError for another number of channels.
 */
export class ImagePreprocessor extends Module<[image: Tensor], Tensor> {
  /** False for the four-tap filter (a = −0.75) that torchvision before 0.17 had for tensors, with which ImageReward's ReFL was trained. */
  antialias = true;
  readonly size: number;
  readonly scale: Constant;
  readonly shift: Constant;

  constructor(size: number, mean: readonly number[], std: readonly number[]) {
    super();
    this.size = size;
    const shape = [1, mean.length, 1, 1];
    this.scale = new Constant(
      std.map((s) => 1 / s),
      shape,
    );
    this.shift = new Constant(
      mean.map((m, i) => -m / std[i]!),
      shape,
    );
  }

  protected override compute(image: Tensor): Tensor {
    if (image.rank !== 4 || image.shape[1] !== this.scale.shape[1]) {
      throw new ShapeError("ImagePreprocessor", [image.shape], `needs [B, ${this.scale.shape[1]}, H, W]`);
    }
    return this.#fit(image).mul(this.scale.on(image.device)).add(this.shift.on(image.device));
  }

  #fit(image: Tensor): Tensor {
    const { size } = this;
    const [height, width] = image.shape.slice(2) as [number, number];
    const short = Math.min(height, width);
    const resized = [height, width].map((side) => (side === short ? size : Math.floor((size * side) / short)));
    const [newHeight, newWidth] = resized as [number, number];
    const same = newHeight === height && newWidth === width;
    const whole = same ? image : resize(image, [newHeight, newWidth], { mode: "bicubic", antialias: this.antialias });
    const top = halfToEven((newHeight - size) / 2);
    const left = halfToEven((newWidth - size) / 2);
    const rows = newHeight === size ? whole : whole.slice(2, top, top + size);
    return newWidth === size ? rows : rows.slice(3, left, left + size);
  }
}

/** Python's round: halves go to the even neighbour. */
function halfToEven(x: number): number {
  const floor = Math.floor(x);
  return x - floor === 0.5 ? floor + (floor % 2) : Math.round(x);
}
