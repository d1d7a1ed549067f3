/** DDIM sampling (Song et al. 2021, arXiv 2010.02502, eq. 12 and 16), with the coefficients of diffusers' `DDIMScheduler`. */
import { DataError } from "@refl/tensor";
import type { JsonObject } from "../formats/json.ts";
import { type DDIMSchedulerConfig, parseDDIMConfig } from "./config.ts";
import { NoiseSchedule, type StepCoefficients } from "./noise-schedule.ts";

const f32 = Math.fround;

export interface DDIMStepOptions {
  /** Share of the DDPM noise that a step adds: 0 is deterministic (the default), 1 is as DDPM. */
  readonly eta?: number;
  /** Derive ε again from the clipped x0 (default false). Without clipping it changes nothing. */
  readonly useClippedModelOutput?: boolean;
}

export class DDIMScheduler extends NoiseSchedule<DDIMSchedulerConfig> {
  /**
   * @param config fields of `scheduler_config.json`; those left out take diffusers' defaults
   * @throws DataError naming `file` and the field, for values that are wrong or not supported
   */
  constructor(config: unknown = {}, file = "scheduler_config.json") {
    super(parseDDIMConfig(config, file));
  }

  /** The config as diffusers reads it. */
  toConfig(): JsonObject {
    return { _class_name: "DDIMScheduler", ...this.config };
  }

  /** t less the stride of the run; negative for the finished picture. */
  previousTimestep(t: number): number {
    const steps = this.numInferenceSteps ?? this.config.num_train_timesteps;
    return t - Math.floor(this.config.num_train_timesteps / steps);
  }

  /** The step from t to t less the stride. @throws DataError when t is no training timestep or eta is outside [0, 1]. */
  stepCoefficients(t: number, options: DDIMStepOptions = {}): StepCoefficients {
    const { eta = 0, useClippedModelOutput = false } = options;
    if (!(eta >= 0 && eta <= 1)) throw new DataError("scheduler", 0, "eta", `${eta} is not from 0 to 1`);
    const prevTimestep = this.previousTimestep(t);
    const alphaBar = this.alphaBar(t);
    const finalAlphaBar = this.config.set_alpha_to_one ? 1 : this.alphaBar(0);
    const alphaBarPrev = prevTimestep >= 0 ? this.alphaBar(prevTimestep) : finalAlphaBar;
    const betaBarPrev = f32(1 - alphaBarPrev);
    const variance = f32(f32(betaBarPrev / f32(1 - alphaBar)) * f32(1 - f32(alphaBar / alphaBarPrev)));
    const noise = f32(f32(eta) * f32(Math.sqrt(variance)));
    const direction = f32(Math.sqrt(Math.max(0, f32(betaBarPrev - f32(noise * noise)))));
    const { signal, sigma } = this.roots(t);
    const epsilon =
      useClippedModelOutput && this.config.clip_sample
        ? { original: -signal / sigma, sample: 1 / sigma, output: 0 }
        : { original: 0, ...this.epsilonCoefficients(t) };
    return this.assembleStep(t, prevTimestep, {
      original: f32(Math.sqrt(alphaBarPrev)) + direction * epsilon.original,
      sample: direction * epsilon.sample,
      output: direction * epsilon.output,
      noise,
    });
  }
}
