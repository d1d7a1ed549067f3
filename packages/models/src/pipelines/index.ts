/** Models joined to one job. */
export { type GuidanceOptions, guide } from "./guidance.ts";
export { AutoencoderCodec, CODEC_CLASSES, type CodecClass, type LatentCodec, loadCodec } from "./latent-codec.ts";
export type { NoiseKind } from "./noise-source.ts";
export { noiseStream, type PictureSeed, pictureSeeds } from "./picture-seed.ts";
export { Sampler, type Scheduler, singleStepScheduler } from "./sampler.ts";
export { predictOriginal, previousSample } from "./scheduler-step.ts";
export { pipelineFromSingleFile, SD1_SCHEDULER_CONFIG, type SingleFileOptions } from "./single-file.ts";
export {
  type InitImage,
  type SampleOptions,
  type SampleProgress,
  type TextToImageComponents,
  TextToImagePipeline,
} from "./text-to-image.ts";
export { TorchGenerator, torchRandn } from "./torch-random.ts";
