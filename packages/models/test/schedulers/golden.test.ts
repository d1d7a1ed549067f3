/** Schedulers against values that diffusers computed (`reference/`). */
import { readFileSync } from "node:fs";
import { DDIMScheduler, DDPMScheduler, type StepCoefficients } from "@refl/models";
import { describe, expect, it } from "vitest";

interface GoldenStep {
  t: number;
  prev_sample: number[];
  pred_original_sample: number[];
}
interface Golden {
  vectors: { sample: number[]; model_output: number[]; noise: number[] };
  alphas_cumprod: (Record<string, unknown> & { index: number[]; alphas_cumprod: number[] })[];
  timesteps: {
    scheduler: string;
    timestep_spacing: string;
    steps_offset: number;
    num_inference_steps: number;
    timesteps: number[];
  }[];
  ddim_steps: { config: object; num_inference_steps: number; eta: number; steps: GoldenStep[] }[];
  ddpm_steps: { config: object; num_inference_steps: number; steps: GoldenStep[] }[];
  forward_process: { config: object; t: number; add_noise: number[]; get_velocity: number[] }[];
}

const golden: Golden = JSON.parse(readFileSync(new URL("../golden/schedulers.json", import.meta.url), "utf8"));
const { sample, model_output: output, noise } = golden.vectors;

function expectClose(found: readonly number[], expected: readonly number[], what: string): void {
  expect(found.length).toBe(expected.length);
  const scale = Math.max(1, ...expected.map(Math.abs));
  for (const [i, value] of found.entries()) {
    expect(Math.abs(value - (expected[i] as number)), `${what} [${i}]: ${value} for ${expected[i]}`).toBeLessThan(
      1e-6 * scale,
    );
  }
}

function run(step: StepCoefficients): { x0: number[]; prev: number[] } {
  const limit = step.clip ?? Number.POSITIVE_INFINITY;
  const x0 = sample.map((x, i) => {
    const value = step.predOriginal.sample * x + step.predOriginal.output * (output[i] as number);
    return Math.min(limit, Math.max(-limit, value));
  });
  const { original, ...rest } = step.prev;
  const prev = sample.map(
    (x, i) =>
      original * (x0[i] as number) +
      rest.sample * x +
      rest.output * (output[i] as number) +
      rest.noise * (noise[i] as number),
  );
  return { x0, prev };
}

function expectSteps(steps: readonly GoldenStep[], coefficients: (t: number) => StepCoefficients, what: string): void {
  for (const step of steps) {
    const { x0, prev } = run(coefficients(step.t));
    expectClose(x0, step.pred_original_sample, `${what} t=${step.t} x0`);
    expectClose(prev, step.prev_sample, `${what} t=${step.t} prev`);
  }
}

describe("schedulers equal diffusers", () => {
  it("cumulates alphas to the same float32 bits", () => {
    for (const { index, alphas_cumprod: expected, ...config } of golden.alphas_cumprod) {
      const { alphasCumprod } = new DDPMScheduler(config);
      expect(index.map((i) => alphasCumprod[i])).toEqual(expected.map(Math.fround));
    }
  });

  it("visits the same timesteps", () => {
    for (const entry of golden.timesteps) {
      const { timestep_spacing, steps_offset } = entry;
      const Scheduler = entry.scheduler === "DDPMScheduler" ? DDPMScheduler : DDIMScheduler;
      const scheduler = new Scheduler({ timestep_spacing, steps_offset });
      expect([...scheduler.setTimesteps(entry.num_inference_steps)], JSON.stringify(entry)).toEqual(entry.timesteps);
    }
  });

  it("takes the same DDIM steps", () => {
    for (const { config, num_inference_steps, eta, steps } of golden.ddim_steps) {
      const scheduler = new DDIMScheduler(config);
      scheduler.setTimesteps(num_inference_steps);
      expectSteps(steps, (t) => scheduler.stepCoefficients(t, { eta }), `${JSON.stringify(config)} eta=${eta}`);
    }
  });

  it("takes the same DDPM steps", () => {
    for (const { config, num_inference_steps, steps } of golden.ddpm_steps) {
      const scheduler = new DDPMScheduler(config);
      scheduler.setTimesteps(num_inference_steps);
      expectSteps(steps, (t) => scheduler.stepCoefficients(t), JSON.stringify(config));
    }
  });

  it("adds the same noise and has the same velocity", () => {
    for (const { config, t, add_noise, get_velocity } of golden.forward_process) {
      const scheduler = new DDPMScheduler(config);
      const [a, b] = scheduler.addNoiseCoefficients(t);
      const v = scheduler.velocityCoefficients(t);
      expectClose(
        sample.map((x, i) => a * x + b * (noise[i] as number)),
        add_noise,
        `add_noise t=${t}`,
      );
      expectClose(
        sample.map((x, i) => v.original * x + v.noise * (noise[i] as number)),
        get_velocity,
        `get_velocity t=${t}`,
      );
    }
  });
});
