/** Schedulers against the papers' formulas in float64, their configs, and training-time distributions and weights. */
import {
  DDIMScheduler,
  DDPMScheduler,
  drawTimestep,
  type LossWeighting,
  lossWeight,
  type NoiseSchedule,
  type StepCoefficients,
  shiftTime,
} from "@refl/models";
import { DataError } from "@refl/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const SD = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear", clip_sample: false };

const configArbitrary = fc.record({
  num_train_timesteps: fc.constantFrom(50, 100, 1000),
  beta_schedule: fc.constantFrom("linear", "scaled_linear", "squaredcos_cap_v2"),
  prediction_type: fc.constantFrom("epsilon", "v_prediction", "sample"),
  timestep_spacing: fc.constantFrom("leading", "trailing", "linspace"),
  clip_sample: fc.boolean(),
});

/** Applies a step to numbers. */
function apply(step: StepCoefficients, sample: number, output: number, noise: number): { x0: number; prev: number } {
  const limit = step.clip ?? Number.POSITIVE_INFINITY;
  const raw = step.predOriginal.sample * sample + step.predOriginal.output * output;
  const x0 = Math.min(limit, Math.max(-limit, raw));
  const { prev } = step;
  return { x0, prev: prev.original * x0 + prev.sample * sample + prev.output * output + prev.noise * noise };
}

/** What a perfect model puts out at t for this picture and noise. */
function perfectOutput(schedule: NoiseSchedule, t: number, x0: number, noise: number): number {
  const target = schedule.targetCoefficients(t);
  return target.original * x0 + target.noise * noise;
}

describe("NoiseSchedule", () => {
  it("turns a perfect output back into x0 and noise, whatever it predicts", () => {
    fc.assert(
      fc.property(
        configArbitrary,
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.double({ min: -1, max: 1, noNaN: true }),
        fc.double({ min: -3, max: 3, noNaN: true }),
        (config, u, x0, noise) => {
          const schedule = new DDPMScheduler(config);
          const t = drawTimestep(u, 1, config.num_train_timesteps);
          const [a, b] = schedule.addNoiseCoefficients(t);
          const sample = a * x0 + b * noise;
          const output = perfectOutput(schedule, t, x0, noise);
          const toX0 = schedule.x0Coefficients(t);
          const toNoise = schedule.epsilonCoefficients(t);
          // sqrt(ᾱ) and sqrt(1−ᾱ) are float32: an error of 1e-7 grows by 1/sqrt(ᾱ) or 1/sqrt(1−ᾱ).
          expect(Math.abs(toX0.sample * sample + toX0.output * output - x0)).toBeLessThan(3e-6 / a);
          expect(Math.abs(toNoise.sample * sample + toNoise.output * output - noise)).toBeLessThan(3e-6 / b);
        },
      ),
    );
  });

  it("has a falling signal-to-noise ratio of ᾱ/(1−ᾱ)", () => {
    const schedule = new DDPMScheduler(SD);
    for (let t = 0; t < 1000; t++) {
      const [a, b] = schedule.addNoiseCoefficients(t);
      expect(schedule.snr(t) / (a / b) ** 2).toBeCloseTo(1, 6);
      if (t > 0) expect(schedule.snr(t)).toBeLessThan(schedule.snr(t - 1));
    }
  });

  it("weighs all prediction types alike with min-SNR", () => {
    const schedule = new DDPMScheduler(SD);
    for (const t of [0, 10, 200, 500, 999]) {
      const snr = schedule.snr(t);
      // |ε error|² = SNR·|x0 error|² and |v error|² = (SNR + 1)·|x0 error|² for the same x_t.
      expect(schedule.minSnrWeight(t, 5, "sample")).toBe(Math.min(snr, 5));
      expect(schedule.minSnrWeight(t, 5, "epsilon") * snr).toBeCloseTo(Math.min(snr, 5), 10);
      expect(schedule.minSnrWeight(t, 5, "v_prediction") * (snr + 1)).toBeCloseTo(Math.min(snr, 5), 10);
      expect(schedule.minSnrWeight(t, 5)).toBe(schedule.minSnrWeight(t, 5, "epsilon"));
    }
  });

  it("refuses times outside the schedule", () => {
    const schedule = new DDPMScheduler(SD);
    for (const t of [-1, 1000, 0.5, Number.NaN]) expect(() => schedule.addNoiseCoefficients(t)).toThrow(DataError);
  });
});

describe("timesteps", () => {
  it("are n descending training timesteps for every n and spacing", () => {
    for (const timestep_spacing of ["leading", "trailing", "linspace"]) {
      const scheduler = new DDIMScheduler({ ...SD, timestep_spacing });
      for (let n = 1; n <= 1000; n++) {
        const timesteps = scheduler.setTimesteps(n);
        const fits = timesteps.every((t, i) => t >= 0 && t < 1000 && (i === 0 || t < (timesteps[i - 1] as number)));
        expect(fits && timesteps.length === n, `${timestep_spacing} ${n}`).toBe(true);
      }
    }
  });

  it("refuse counts and offsets that do not fit", () => {
    const scheduler = new DDPMScheduler({ ...SD, steps_offset: 1 });
    for (const n of [0, -1, 1001, 2.5, Number.NaN]) {
      expect(() => scheduler.setTimesteps(n)).toThrow(
        expect.objectContaining({ code: "data", field: "num_inference_steps" }),
      );
    }
    expect(() => scheduler.setTimesteps(1000)).toThrow(expect.objectContaining({ field: "steps_offset" }));
    expect(scheduler.setTimesteps(40)[0]).toBe(976);
  });
});

describe("DDPM", () => {
  it("has the posterior's mean and variance", () => {
    for (const variance_type of ["fixed_small", "fixed_small_log", "fixed_large"]) {
      const scheduler = new DDPMScheduler({ ...SD, clip_sample: true, variance_type });
      const timesteps = scheduler.setTimesteps(40);
      for (const [i, t] of timesteps.entries()) {
        const step = scheduler.stepCoefficients(t);
        const alphaBar = scheduler.alphaBar(t);
        const next = timesteps[i + 1];
        const alphaBarPrev = next === undefined ? 1 : scheduler.alphaBar(next);
        const alpha = alphaBar / alphaBarPrev;
        expect(step.prevTimestep).toBe(next ?? -1);
        expect(step.prev.original).toBeCloseTo((Math.sqrt(alphaBarPrev) * (1 - alpha)) / (1 - alphaBar), 5);
        expect(step.prev.sample).toBeCloseTo((Math.sqrt(alpha) * (1 - alphaBarPrev)) / (1 - alphaBar), 5);
        const small = ((1 - alphaBarPrev) / (1 - alphaBar)) * (1 - alpha);
        const sigma = t === 0 ? 0 : Math.sqrt(variance_type === "fixed_large" ? 1 - alpha : small);
        expect(step.prev.noise).toBeCloseTo(sigma, 5);
      }
    }
  });

  it("knows only the timesteps of its run", () => {
    const scheduler = new DDPMScheduler(SD);
    expect(scheduler.stepCoefficients(7).prevTimestep).toBe(6);
    scheduler.setTimesteps(10);
    expect(() => scheduler.stepCoefficients(7)).toThrow(DataError);
  });
});

describe("DDIM", () => {
  it("lands on the same noise at the earlier time when the model is perfect", () => {
    fc.assert(
      fc.property(
        configArbitrary,
        fc.integer({ min: 1, max: 50 }),
        fc.double({ min: -1, max: 1, noNaN: true }),
        (config, n, x0) => {
          const scheduler = new DDIMScheduler(config);
          for (const t of scheduler.setTimesteps(n)) {
            const noise = 0.7;
            const [a, b] = scheduler.addNoiseCoefficients(t);
            const step = scheduler.stepCoefficients(t);
            const { prev } = apply(step, a * x0 + b * noise, perfectOutput(scheduler, t, x0, noise), 1);
            const [aPrev, bPrev] = step.prevTimestep >= 0 ? scheduler.addNoiseCoefficients(step.prevTimestep) : [1, 0];
            expect(Math.abs(prev - (aPrev * x0 + bPrev * noise))).toBeLessThan(1e-5 / Math.min(a, b));
          }
        },
      ),
    );
  });

  it("keeps the variance for every eta", () => {
    const scheduler = new DDIMScheduler({ ...SD, set_alpha_to_one: false, steps_offset: 1 });
    for (const t of scheduler.setTimesteps(20)) {
      for (const eta of [0, 0.3, 1]) {
        const { prev, prevTimestep } = scheduler.stepCoefficients(t, { eta });
        const [a, b] = scheduler.addNoiseCoefficients(t);
        const alphaBarPrev = scheduler.alphaBar(Math.max(0, prevTimestep));
        // With x0 = 0 and a perfect ε model, x_t = b·ε; prev's variance is that of the direction plus the noise.
        const direction = prev.sample * b + prev.output;
        expect(direction ** 2 + prev.noise ** 2).toBeCloseTo(1 - alphaBarPrev, 5);
        expect(prev.sample * a).toBeCloseTo(Math.sqrt(alphaBarPrev), 5);
      }
    }
  });

  it("re-derives the noise from the clipped x0 when asked", () => {
    const scheduler = new DDIMScheduler({ ...SD, clip_sample: true, clip_sample_range: 0.5 });
    const t = scheduler.setTimesteps(10)[3] as number;
    const [a, b] = scheduler.addNoiseCoefficients(t);
    const plain = scheduler.stepCoefficients(t);
    const derived = scheduler.stepCoefficients(t, { useClippedModelOutput: true });
    expect(derived.prev.output).toBe(0);
    expect(apply(derived, 0.1, 0.05, 0).prev).toBeCloseTo(apply(plain, 0.1, 0.05, 0).prev, 6);
    const [aPrev, bPrev] = scheduler.addNoiseCoefficients(plain.prevTimestep);
    expect(apply(plain, 2, -1, 0).prev).toBeCloseTo(aPrev * 0.5 + bPrev * -1, 6);
    expect(apply(derived, 2, -1, 0).prev).toBeCloseTo(aPrev * 0.5 + (bPrev * (2 - a * 0.5)) / b, 6);
  });

  it("refuses an eta outside [0, 1]", () => {
    const scheduler = new DDIMScheduler(SD);
    for (const eta of [-0.1, 1.1, Number.NaN]) expect(() => scheduler.stepCoefficients(10, { eta })).toThrow(DataError);
  });
});

describe("configs", () => {
  it("open Stable Diffusion's PNDM config, and come back", () => {
    const pndm = {
      _class_name: "PNDMScheduler",
      _diffusers_version: "0.7.0.dev0",
      ...SD,
      num_train_timesteps: 1000,
      set_alpha_to_one: false,
      skip_prk_steps: true,
      steps_offset: 1,
      trained_betas: null,
    };
    const ddim = new DDIMScheduler(pndm);
    expect(ddim.config).toMatchObject({ set_alpha_to_one: false, steps_offset: 1, prediction_type: "epsilon" });
    expect(new DDIMScheduler(ddim.toConfig()).config).toEqual(ddim.config);
    const ddpm = new DDPMScheduler(pndm);
    expect(ddpm.toConfig()).toMatchObject({ _class_name: "DDPMScheduler", variance_type: "fixed_small" });
    expect(new DDPMScheduler(ddpm.toConfig()).config).toEqual(ddpm.config);
  });

  it("take trained betas", () => {
    const scheduler = new DDPMScheduler({ num_train_timesteps: 2, trained_betas: [0.5, 0.25] });
    expect([...scheduler.alphasCumprod]).toEqual([0.5, 0.375]);
  });

  it.each([
    [{ beta_strat: 0.1 }, "beta_strat", /did you mean "beta_start"/],
    [{ thresholding: true }, "thresholding", /true is not supported/],
    [{ variance_type: "learned" }, "variance_type", /"fixed_small"/],
    [{ beta_schedule: "sigmoid" }, "beta_schedule", /"scaled_linear"/],
    [{ beta_end: 1 }, "beta_end", /1/],
    [{ num_train_timesteps: 1e9 }, "num_train_timesteps", /1000000/],
    [{ num_train_timesteps: "1000" }, "num_train_timesteps", /number/],
    [{ trained_betas: [0.1] }, "trained_betas", /has 1 values/],
    [{ trained_betas: [0.1, 2] }, "trained_betas.1", /2/],
    [null, "", /must be a JSON object/],
  ])("refuse %j naming the field", (config, field, message) => {
    const make = () => new DDPMScheduler(config, "scheduler/scheduler_config.json");
    expect(make).toThrow(expect.objectContaining({ code: "data", file: "scheduler/scheduler_config.json", field }));
    expect(make).toThrow(message);
  });
});

describe("training times and weights", () => {
  it("are timesteps, and noisier ones are noisier", () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.integer({ min: 1, max: 1000 }),
        (u, total) => {
          const uniform = drawTimestep(u, 1, total);
          const noisier = drawTimestep(u, 3, total);
          for (const t of [uniform, noisier]) expect(Number.isInteger(t) && t >= 0 && t < total).toBe(true);
          expect(noisier).toBeGreaterThanOrEqual(uniform);
        },
      ),
    );
    expect([shiftTime(0, 3), shiftTime(0.5, 3), shiftTime(1, 3)]).toEqual([0, 0.75, 1]);
  });

  it("weigh as named", () => {
    const schedule = new DDPMScheduler({ ...SD, prediction_type: "sample" });
    const weight = (t: number, weighting: LossWeighting) => lossWeight(schedule, t, weighting);
    expect(weight(0, { kind: "uniform" })).toBe(1);
    expect(weight(0, { kind: "min-snr" })).toBe(5);
    expect(weight(999, { kind: "min-snr", gamma: 1 })).toBe(schedule.snr(999));
    expect(weight(0, { kind: "inverse-variance" })).toBe(2);
    expect(weight(999, { kind: "inverse-variance" })).toBeCloseTo(1 + schedule.snr(999), 10);
    expect(() => weight(0, { kind: "min-snr", gamma: 0 })).toThrow(DataError);
  });
});
