/** What every scheduler knows of a timestep: the linear maps between x0, noise, sample and model output, the signal-to-noise ratio and training targets. */
import { DataError } from "@refl/tensor";
import { alphasCumprod, betasFor } from "./betas.ts";
import type { NoiseScheduleConfig, PredictionType } from "./config.ts";
import { spacedTimesteps } from "./spacing.ts";

/** result = sample · x_t + output · model(x_t, t). */
export interface OutputCoefficients {
  readonly sample: number;
  readonly output: number;
}

/** result = original · x0 + noise · ε. */
export interface NoiseCoefficients {
  readonly original: number;
  readonly noise: number;
}

/**
 * One sampler step as scalars, for any tensor library:
 *
 *     x0   = predOriginal.sample · x_t + predOriginal.output · out
 *     x0   = clamp(x0, −clip, clip)                               only when clip is not null
 *     prev = prev.original · x0 + prev.sample · x_t + prev.output · out + prev.noise · z,   z ~ N(0, 1)
 *
 * Without clipping `prev.original` is 0: x0 is folded into the other coefficients and the first line is only needed by who wants x0.
 * `prev.noise` is 0 when the step draws no noise.
 */
export interface StepCoefficients {
  readonly timestep: number;
  /** The timestep that `prev` belongs to; negative for the finished picture. */
  readonly prevTimestep: number;
  readonly predOriginal: OutputCoefficients;
  readonly clip: number | null;
  readonly prev: {
    readonly original: number;
    readonly sample: number;
    readonly output: number;
    readonly noise: number;
  };
}

/** Ho et al. 2020 (arXiv 2006.11239): x_t = sqrt(ᾱ_t)·x0 + sqrt(1−ᾱ_t)·ε over `num_train_timesteps` discrete times. */
export class NoiseSchedule<TConfig extends NoiseScheduleConfig = NoiseScheduleConfig> {
  readonly config: TConfig;
  /** float32, index = training timestep. */
  readonly betas: Float32Array;
  /** ᾱ, float32, index = training timestep. */
  readonly alphasCumprod: Float32Array;
  /** What sampling starts from: x_T ~ N(0, initNoiseSigma²). */
  readonly initNoiseSigma = 1;
  #timesteps: Int32Array;
  #inferenceSteps: number | null = null;

  constructor(config: TConfig) {
    this.config = config;
    this.betas = betasFor(config);
    this.alphasCumprod = alphasCumprod(this.betas);
    const total = config.num_train_timesteps;
    this.#timesteps = Int32Array.from({ length: total }, (_, i) => total - 1 - i);
  }

  /** Timesteps in sampling order; all training timesteps until `setTimesteps` is called. */
  get timesteps(): Int32Array {
    return this.#timesteps;
  }

  /** The n of `setTimesteps(n)`, `null` before. */
  get numInferenceSteps(): number | null {
    return this.#inferenceSteps;
  }

  /**
   * Chooses the timesteps of a run of `steps` steps.
   * @throws DataError when the number does not fit `num_train_timesteps`.
   */
  setTimesteps(steps: number): Int32Array {
    this.#timesteps = this.chooseTimesteps(steps);
    this.#inferenceSteps = steps;
    return this.#timesteps;
  }

  /** What a run of `steps` steps asks the model at, in order. */
  protected chooseTimesteps(steps: number): Int32Array {
    return spacedTimesteps(this.config, steps);
  }

  /** ᾱ_t. @throws DataError when t is no training timestep. */
  alphaBar(t: number): number {
    const value = this.alphasCumprod[t];
    if (value === undefined) {
      throw new DataError("scheduler", 0, "timestep", `${t} is no integer from 0 to ${this.alphasCumprod.length - 1}`);
    }
    return value;
  }

  /** [sqrt(ᾱ_t), sqrt(1−ᾱ_t)]: the factors of x0 and of the noise in x_t. */
  addNoiseCoefficients(t: number): readonly [original: number, noise: number] {
    const { signal, sigma } = this.roots(t);
    return [signal, sigma];
  }

  /** The velocity sqrt(ᾱ_t)·ε − sqrt(1−ᾱ_t)·x0 (Salimans & Ho 2022, arXiv 2202.00512). */
  velocityCoefficients(t: number): NoiseCoefficients {
    const { signal, sigma } = this.roots(t);
    return { original: -sigma, noise: signal };
  }

  /** What the model is trained to put out at t, under `prediction_type`. */
  targetCoefficients(t: number): NoiseCoefficients {
    switch (this.config.prediction_type) {
      case "epsilon":
        return { original: 0, noise: 1 };
      case "sample":
        return { original: 1, noise: 0 };
      case "v_prediction":
        return this.velocityCoefficients(t);
    }
  }

  /**
   * The jump from x_t and the model's output straight to x0 (before any clipping), under `prediction_type`.
   * @throws DataError for ε where x_t is noise alone
   */
  x0Coefficients(t: number): OutputCoefficients {
    const { signal, sigma } = this.roots(t);
    switch (this.config.prediction_type) {
      case "epsilon":
        if (signal === 0) {
          const message =
            "with betas rescaled to zero SNR the noise says nothing of x0 there: it needs v_prediction or sample";
          throw new DataError("scheduler", 0, "prediction_type", `epsilon at timestep ${t}: ${message}`);
        }
        return { sample: 1 / signal, output: -sigma / signal };
      case "sample":
        return { sample: 0, output: 1 };
      case "v_prediction":
        return { sample: signal, output: -sigma };
    }
  }

  /** The noise that x_t and the model's output imply, under `prediction_type`. */
  epsilonCoefficients(t: number): OutputCoefficients {
    const { signal, sigma } = this.roots(t);
    switch (this.config.prediction_type) {
      case "epsilon":
        return { sample: 0, output: 1 };
      case "sample":
        return { sample: 1 / sigma, output: -signal / sigma };
      case "v_prediction":
        return { sample: sigma, output: signal };
    }
  }

  /** Signal-to-noise ratio ᾱ_t / (1−ᾱ_t). */
  snr(t: number): number {
    const alphaBar = this.alphaBar(t);
    return alphaBar / (1 - alphaBar);
  }

  /**
   * Min-SNR-γ weight of the mean squared error at t (Hang et al. 2023, arXiv 2303.09556): min(SNR, γ) for x0 prediction,
   * divided by SNR for ε and by SNR + 1 for v, so that all three weigh the same error alike.
   */
  minSnrWeight(t: number, gamma: number, predictionType: PredictionType = this.config.prediction_type): number {
    const snr = this.snr(t);
    const clipped = Math.min(snr, gamma);
    switch (predictionType) {
      case "epsilon":
        return clipped / snr;
      case "sample":
        return clipped;
      case "v_prediction":
        return clipped / (snr + 1);
    }
  }

  /** sqrt(ᾱ_t) and sqrt(1−ᾱ_t), rounded to float32 as diffusers has them. */
  protected roots(t: number): { signal: number; sigma: number } {
    const alphaBar = this.alphaBar(t);
    return { signal: Math.fround(Math.sqrt(alphaBar)), sigma: Math.fround(Math.sqrt(Math.fround(1 - alphaBar))) };
  }

  /** Assembles a step from the coefficients of x0, x_t, output and noise in `prev`, folding x0 away when nothing is clipped. */
  protected assembleStep(
    timestep: number,
    prevTimestep: number,
    prev: { original: number; sample: number; output: number; noise: number },
  ): StepCoefficients {
    const predOriginal = this.x0Coefficients(timestep);
    if (this.config.clip_sample) {
      return { timestep, prevTimestep, predOriginal, clip: this.config.clip_sample_range, prev };
    }
    const folded = {
      original: 0,
      sample: prev.sample + prev.original * predOriginal.sample,
      output: prev.output + prev.original * predOriginal.output,
      noise: prev.noise,
    };
    return { timestep, prevTimestep, predOriginal, clip: null, prev: folded };
  }
}
