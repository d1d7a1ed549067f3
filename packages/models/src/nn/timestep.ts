/** Sinusoidal timestep features and the layers that embed them (diffusers `Timesteps` and `TimestepEmbedding`). */
import { cat, type Tensor } from "@refl/tensor";
import { type Activation, activate } from "./activation.ts";
import { Constant } from "./constant.ts";
import { Linear } from "./linear.ts";
import { Module } from "./module.ts";

export interface TimestepsOptions {
  /** (cos, sin) instead of (sin, cos), as Stable Diffusion. */
  readonly flipSinToCos: boolean;
  /** Shift δ in frequency k = exp(−ln(maxPeriod) · k / (half − δ)). */
  readonly freqShift: number;
  /** Default 10000. */
  readonly maxPeriod?: number;
}

// 2π in two parts: multiples of the first are exact in f32, so that large arguments reach sin and cos without losing digits.
const TWO_PI_HIGH = 6.28125;
const TWO_PI_LOW = 2 * Math.PI - TWO_PI_HIGH;

/** Sine and cosine of timestep × frequency. timesteps: [B] f32 → [B, channels]; channels must be even. */
export class Timesteps extends Module<[timesteps: Tensor], Tensor> {
  readonly channels: number;
  readonly flipSinToCos: boolean;
  readonly frequencies: Constant;

  constructor(channels: number, { flipSinToCos, freqShift, maxPeriod = 10000 }: TimestepsOptions) {
    super();
    const half = Math.floor(channels / 2);
    this.channels = channels;
    this.flipSinToCos = flipSinToCos;
    const frequency = (_: unknown, k: number): number => Math.exp((-Math.log(maxPeriod) * k) / (half - freqShift));
    this.frequencies = new Constant(Array.from({ length: half }, frequency), [1, half]);
  }

  protected override compute(timesteps: Tensor): Tensor {
    const angle = timesteps.unsqueeze(1).mul(this.frequencies.on(timesteps.device));
    const turns = angle
      .mul(1 / (2 * Math.PI))
      .add(0.5)
      .floor();
    const reduced = angle.sub(turns.mul(TWO_PI_HIGH)).sub(turns.mul(TWO_PI_LOW));
    const [sin, cos] = [reduced.sin(), reduced.cos()];
    return cat(this.flipSinToCos ? [cos, sin] : [sin, cos], 1);
  }
}

/** Linear, activation, linear. [B, channels] → [B, width]. */
export class TimestepEmbedding extends Module<[features: Tensor], Tensor> {
  readonly linear_1: Linear;
  readonly linear_2: Linear;
  readonly #activation: Activation;

  constructor(channels: number, width: number, activation: Activation = "silu") {
    super();
    this.linear_1 = new Linear(channels, width);
    this.linear_2 = new Linear(width, width);
    this.#activation = activation;
  }

  protected override compute(features: Tensor): Tensor {
    return this.linear_2.forward(activate(this.linear_1.forward(features), this.#activation));
  }
}
