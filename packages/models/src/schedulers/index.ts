/** Noise schedules, samplers and training-time distributions. */
export type {
  DDIMSchedulerConfig,
  DDPMSchedulerConfig,
  NoiseScheduleConfig,
  PNDMSchedulerConfig,
  PredictionType,
} from "./config.ts";
export { DDIMScheduler, type DDIMStepOptions } from "./ddim.ts";
export { DDPMScheduler } from "./ddpm.ts";
export {
  type NoiseCoefficients,
  NoiseSchedule,
  type OutputCoefficients,
  type StepCoefficients,
} from "./noise-schedule.ts";
export { type MultistepCall, type OutputShare, PNDMScheduler } from "./pndm.ts";
export * from "./timesteps.ts";
