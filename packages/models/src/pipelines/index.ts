/** Models joined to one job. */
export { type GuidanceOptions, guide } from "./guidance.ts";
export type { NoiseKind } from "./noise-source.ts";
export { noiseStream, type PictureSeed, pictureSeeds } from "./picture-seed.ts";
export { Sampler, type Scheduler, singleStepScheduler } from "./sampler.ts";
export { predictOriginal, previousSample } from "./scheduler-step.ts";
export {
  type SampleOptions,
  type SampleProgress,
  type TextToImageComponents,
  TextToImagePipeline,
} from "./text-to-image.ts";
export { TorchGenerator, torchRandn } from "./torch-random.ts";
