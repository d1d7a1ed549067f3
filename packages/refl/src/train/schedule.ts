/** The learning rate over the steps: a linear warm-up, then constant or a half cosine to 0. */

export interface LearningRate {
  readonly lr: number;
  readonly lrSchedule: "cosine" | "constant";
  readonly warmupSteps: number;
}

/** The rate of step `step` (from 1) of `total`. The first step of a warm-up has lr / warmupSteps, the last of a cosine is just above 0. */
export function learningRate({ lr, lrSchedule, warmupSteps }: LearningRate, step: number, total: number): number {
  if (step <= warmupSteps) return (lr * step) / warmupSteps;
  if (lrSchedule === "constant") return lr;
  const progress = (step - 1 - warmupSteps) / Math.max(1, total - warmupSteps);
  return 0.5 * lr * (1 + Math.cos(Math.PI * progress));
}
