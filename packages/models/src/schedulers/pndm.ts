/** Pseudo numerical methods (Liu et al. 2022, arXiv 2202.09778, eq. 9, 12 and 13), with the coefficients and the order of calls of diffusers' `PNDMScheduler`. */
import { DataError } from "@refl/tensor";
import type { JsonObject } from "../formats/json.ts";
import { type PNDMSchedulerConfig, parsePNDMConfig } from "./config.ts";
import { NoiseSchedule } from "./noise-schedule.ts";
import { spacedTimesteps } from "./spacing.ts";

const f32 = Math.fround;

/** Calls of the Runge-Kutta start: three steps of four. */
const RUNGE_KUTTA_CALLS = 12;

/** A share of what the model put out at an earlier call, or at this one. */
export interface OutputShare {
  readonly call: number;
  readonly weight: number;
}

/**
 * One call of the model and what follows of it, as scalars:
 *
 *     e    = Σ weight · out(call)         over `outputs`; this call's is the last
 *     next = sample · x(base) + output · e
 *
 * where x(k) is the sample that call k saw, and `base` is this call or an earlier one.
 */
export interface MultistepCall {
  /** What the model is asked at. */
  readonly timestep: number;
  /** The timestep that `next` belongs to; negative for the finished picture. */
  readonly prevTimestep: number;
  readonly base: number;
  readonly outputs: readonly OutputShare[];
  readonly sample: number;
  readonly output: number;
}

/** Weights of the last outputs, the newest first, of Adams-Bashforth of order 1 to 4. */
const MULTISTEP = [[1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]] as const;

export class PNDMScheduler extends NoiseSchedule<PNDMSchedulerConfig> {
  /**
   * @param config fields of `scheduler_config.json`; those left out take diffusers' defaults
   * @throws DataError naming `file` and the field, for values that are wrong or not supported
   */
  constructor(config: unknown = {}, file = "scheduler_config.json") {
    super(parsePNDMConfig(config, file));
  }

  /** The config as diffusers reads it. */
  toConfig(): JsonObject {
    return { _class_name: "PNDMScheduler", ...this.config };
  }

  /**
   * The calls of a run, in order; one more than steps with `skip_prk_steps`, nine more without. A run that begins later, at the call `first` of a whole
   * one, begins anew there: as in diffusers, its second call takes the first step again, from one stride earlier.
   * @throws DataError before `setTimesteps`, and for a later beginning without `skip_prk_steps`
   */
  calls(first = 0): MultistepCall[] {
    const steps = this.numInferenceSteps;
    if (steps === null) throw new DataError("scheduler", 0, "num_inference_steps", "is not set: call setTimesteps");
    if (first > 0 && !this.config.skip_prk_steps) {
      throw new DataError("scheduler", 0, "skip_prk_steps", "a run that begins with a picture needs it to be true");
    }
    const stride = Math.floor(this.config.num_train_timesteps / steps);
    const start = this.config.skip_prk_steps ? 0 : RUNGE_KUTTA_CALLS;
    return Array.from(this.timesteps.slice(first), (t, call) =>
      call < start ? this.#rungeKutta(t, call, stride) : this.#multistep(t, call, stride),
    );
  }

  protected override chooseTimesteps(steps: number): Int32Array {
    const spaced = spacedTimesteps(this.config, steps);
    if (this.config.skip_prk_steps) {
      // The second timestep is asked twice: the first step is taken again with the mean of its ends.
      return steps === 1 ? spaced : Int32Array.of(...spaced.slice(0, 2), ...spaced.slice(1));
    }
    if (steps < 4) {
      throw new DataError(
        "scheduler",
        0,
        "num_inference_steps",
        `${steps} steps are too few for the Runge-Kutta start: take at least 4, or skip_prk_steps`,
      );
    }
    const half = Math.floor(Math.floor(this.config.num_train_timesteps / steps) / 2);
    const rungeKutta = [0, 1, 2].flatMap((k) => {
      const from = spaced[k] as number;
      const middle = (spaced[k + 1] as number) + half;
      return [from, middle, middle, spaced[k + 1] as number];
    });
    return Int32Array.of(...rungeKutta, ...spaced.slice(3));
  }

  #rungeKutta(t: number, call: number, stride: number): MultistepCall {
    const first = call - (call % 4);
    const prevTimestep = call % 2 ? t : t - Math.floor(stride / 2);
    const outputs =
      call % 4 === 3
        ? [1 / 6, 1 / 3, 1 / 3, 1 / 6].map((weight, i) => ({ call: first + i, weight }))
        : [{ call, weight: 1 }];
    return this.#transfer(t, this.timesteps[first] as number, prevTimestep, first, outputs);
  }

  #multistep(t: number, call: number, stride: number): MultistepCall {
    if (this.config.skip_prk_steps && call === 1) {
      const outputs = [0, 1].map((of) => ({ call: of, weight: 1 / 2 }));
      return this.#transfer(t, t + stride, t, 0, outputs);
    }
    const past = this.config.skip_prk_steps
      ? [call, ...(call > 1 ? [call - 1, call - 2, call - 3] : [])].map((of) => (of === 1 ? 0 : of))
      : [call, call - 1, call - 2, call - 3].map((of) => (of < RUNGE_KUTTA_CALLS ? 4 * (of - 9) : of));
    const known = past.filter((of, i) => of >= 0 && past.indexOf(of) === i);
    const weights = MULTISTEP[known.length - 1] as readonly number[];
    const outputs = known.map((of, i) => ({ call: of, weight: weights[i] as number })).reverse();
    return this.#transfer(t, t, t - stride, call, outputs);
  }

  /** Equation 9: from time `from` to `prevTimestep` along the combined output. */
  #transfer(
    timestep: number,
    from: number,
    prevTimestep: number,
    base: number,
    outputs: readonly OutputShare[],
  ): MultistepCall {
    const alphaBar = this.alphaBar(from);
    const finalAlphaBar = this.config.set_alpha_to_one ? 1 : this.alphaBar(0);
    const alphaBarPrev = prevTimestep >= 0 ? this.alphaBar(prevTimestep) : finalAlphaBar;
    const betaBar = f32(1 - alphaBar);
    // Every operation is rounded to float32, as diffusers' zero-dimensional tensors are.
    const scale = f32(Math.sqrt(f32(alphaBarPrev / alphaBar)));
    const denominator = f32(
      f32(alphaBar * f32(Math.sqrt(f32(1 - alphaBarPrev)))) +
        f32(Math.sqrt(f32(f32(alphaBar * betaBar) * alphaBarPrev))),
    );
    const along = -f32(alphaBarPrev - alphaBar) / denominator;
    const { signal, sigma } = this.roots(from);
    const coefficients =
      this.config.prediction_type === "v_prediction"
        ? { sample: scale + along * sigma, output: along * signal }
        : { sample: scale, output: along };
    return { timestep, prevTimestep, base, outputs, ...coefficients };
  }
}
