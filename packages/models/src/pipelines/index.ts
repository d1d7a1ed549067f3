/** Models joined to one job. */
export { noiseStream, type PictureSeed, pictureSeeds } from "./picture-seed.ts";
export { predictOriginal, previousSample } from "./scheduler-step.ts";
export {
  type SampleOptions,
  type SampleProgress,
  type Scheduler,
  type TextToImageComponents,
  TextToImagePipeline,
} from "./text-to-image.ts";
