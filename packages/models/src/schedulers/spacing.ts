/** Which training timesteps a sampler of n steps visits: `leading`, `trailing` and `linspace` of arXiv 2305.08891, table 2, as NumPy computes them in diffusers. */
import { DataError } from "@refl/tensor";
import type { NoiseScheduleConfig } from "./config.ts";

/** Rounds to the nearest integer, ties to even, as numpy.round. */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

function leading(total: number, steps: number, offset: number): number[] {
  const ratio = Math.floor(total / steps);
  return Array.from({ length: steps }, (_, i) => (steps - 1 - i) * ratio + offset);
}

function trailing(total: number, steps: number): number[] {
  const ratio = total / steps;
  // numpy.arange takes its stride from its first two values. It also adds an element near 0 (timestep −1) when rounding makes total/ratio exceed steps: left out.
  const stride = total - ratio - total;
  return Array.from({ length: steps }, (_, i) => roundHalfEven(total + i * stride) - 1);
}

function linspace(total: number, steps: number): number[] {
  if (steps === 1) return [0];
  const stride = (total - 1) / (steps - 1);
  return Array.from({ length: steps }, (_, i) => (i === 0 ? total - 1 : roundHalfEven((steps - 1 - i) * stride)));
}

/**
 * Timesteps in sampling order (descending), each in [0, num_train_timesteps).
 * @throws DataError when `steps` is no integer in [1, num_train_timesteps], or steps_offset pushes a timestep past the last one.
 */
export function spacedTimesteps(config: NoiseScheduleConfig, steps: number): Int32Array {
  const total = config.num_train_timesteps;
  if (!Number.isInteger(steps) || steps < 1 || steps > total) {
    throw new DataError(
      "scheduler",
      0,
      "num_inference_steps",
      `${steps} is no integer from 1 to num_train_timesteps (${total})`,
    );
  }
  const timesteps =
    config.timestep_spacing === "leading"
      ? leading(total, steps, config.steps_offset)
      : config.timestep_spacing === "trailing"
        ? trailing(total, steps)
        : linspace(total, steps);
  const first = timesteps[0] as number;
  if (first >= total) {
    throw new DataError(
      "scheduler",
      0,
      "steps_offset",
      `${config.steps_offset} with ${steps} steps begins at timestep ${first}, the last one is ${total - 1}; take fewer steps or no offset`,
    );
  }
  return Int32Array.from(timesteps);
}
