/** Training-time choices: at which noise levels the model is asked, and how much the error there weighs. */
import { DataError } from "@refl/tensor";
import type { NoiseSchedule } from "./noise-schedule.ts";

/** u ↦ s·u/(1+(s−1)·u) on [0, 1], with fixed ends; s > 1 favours noisy times (Esser et al. 2024, arXiv 2403.03206, eq. 23). */
export function shiftTime(u: number, shift: number): number {
  return (shift * u) / (1 + (shift - 1) * u);
}

/**
 * The training timestep for one uniform draw.
 * @param u uniform in [0, 1)
 * @param shift 1 draws every timestep alike; 3 moves the mean from the middle to about two thirds, which small models need
 * @returns an integer in [0, numTrainTimesteps)
 */
export function drawTimestep(u: number, shift: number, numTrainTimesteps: number): number {
  return Math.min(numTrainTimesteps - 1, Math.floor(shiftTime(u, shift) * numTrainTimesteps));
}

/**
 * How the squared error at t is weighted:
 * `uniform`: 1. `min-snr`: Min-SNR-γ under the schedule's prediction type (default γ = 5).
 * `inverse-variance`: min(1/σ_t², cap) with σ_t² = 1−ᾱ_t (default cap 2). On x0 errors 1/σ² is what unweighted v-prediction
 * amounts to; the cap keeps nearly clean pictures from ruling.
 */
export type LossWeighting =
  | { readonly kind: "uniform" }
  | { readonly kind: "min-snr"; readonly gamma?: number }
  | { readonly kind: "inverse-variance"; readonly cap?: number };

/** The weight of the squared error at timestep t. @throws DataError when t is no training timestep or a parameter is not positive. */
export function lossWeight(schedule: NoiseSchedule, t: number, weighting: LossWeighting): number {
  switch (weighting.kind) {
    case "uniform":
      return 1;
    case "min-snr":
      return schedule.minSnrWeight(t, positive("gamma", weighting.gamma ?? 5));
    case "inverse-variance":
      return Math.min(1 / (1 - schedule.alphaBar(t)), positive("cap", weighting.cap ?? 2));
  }
}

function positive(field: string, value: number): number {
  if (!(value > 0)) throw new DataError("scheduler", 0, field, `${value} is not above 0`);
  return value;
}
