/** Ancestral sampling (Ho et al. 2020, arXiv 2006.11239, eq. 7), with the coefficients of diffusers' `DDPMScheduler`. */
import { DataError } from "@refl/tensor";
import type { JsonObject } from "../formats/json.ts";
import { type DDPMSchedulerConfig, parseDDPMConfig } from "./config.ts";
import { NoiseSchedule, type StepCoefficients } from "./noise-schedule.ts";

const f32 = Math.fround;
const MIN_VARIANCE = f32(1e-20);

export class DDPMScheduler extends NoiseSchedule<DDPMSchedulerConfig> {
  /**
   * @param config fields of `scheduler_config.json`; those left out take diffusers' defaults
   * @throws DataError naming `file` and the field, for values that are wrong or not supported
   */
  constructor(config: unknown = {}, file = "scheduler_config.json") {
    super(parseDDPMConfig(config, file));
  }

  /** The config as diffusers reads it. */
  toConfig(): JsonObject {
    return { _class_name: "DDPMScheduler", ...this.config };
  }

  /** The timestep after t in this run, −1 after the last. @throws DataError when the run does not visit t. */
  previousTimestep(t: number): number {
    if (this.numInferenceSteps === null) return t - 1;
    const index = this.timesteps.indexOf(t);
    if (index < 0)
      throw new DataError(
        "scheduler",
        0,
        "timestep",
        `${t} is not among the ${this.timesteps.length} timesteps of this run`,
      );
    return this.timesteps[index + 1] ?? -1;
  }

  /** The step from t to the next timestep of the run. @throws DataError when the run does not visit t. */
  stepCoefficients(t: number): StepCoefficients {
    const prevTimestep = this.previousTimestep(t);
    const alphaBar = this.alphaBar(t);
    const alphaBarPrev = prevTimestep >= 0 ? this.alphaBar(prevTimestep) : 1;
    // Every operation is rounded to float32, as diffusers' zero-dimensional tensors are: 1 − ᾱ_t/ᾱ_prev cancels, and its rounding is visible.
    const betaBar = f32(1 - alphaBar);
    const betaBarPrev = f32(1 - alphaBarPrev);
    const alpha = f32(alphaBar / alphaBarPrev);
    const beta = f32(1 - alpha);
    return this.assembleStep(t, prevTimestep, {
      original: f32(f32(f32(Math.sqrt(alphaBarPrev)) * beta) / betaBar),
      sample: f32(f32(f32(Math.sqrt(alpha)) * betaBarPrev) / betaBar),
      output: 0,
      noise: t > 0 ? this.#noiseScale(f32(f32(betaBarPrev / betaBar) * beta), beta) : 0,
    });
  }

  #noiseScale(posteriorVariance: number, beta: number): number {
    const clamped = Math.max(posteriorVariance, MIN_VARIANCE);
    switch (this.config.variance_type) {
      case "fixed_small":
        return f32(Math.sqrt(clamped));
      case "fixed_small_log":
        return f32(Math.exp(f32(0.5 * f32(Math.log(clamped)))));
      case "fixed_large":
        return f32(Math.sqrt(beta));
    }
  }
}
