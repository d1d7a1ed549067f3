/** Models under the names and keys of their released checkpoints. */
export { BertModel, type TextConfig } from "./bert.ts";
export {
  Blip,
  BlipPretrainingModel,
  BlipRewardModel,
  type BlipRewardOptions,
  type ContrastiveFeatures,
  type HeadInit,
  RewardHead,
} from "./blip.ts";
export { type BlipConfig, type BlipRewardConfig, IMAGE_REWARD_CONFIG } from "./blip-config.ts";
export { ConvClassifier, type ConvClassifierConfig } from "./classifier.ts";
export { CLIPTextModel } from "./clip-text.ts";
export type { CLIPTextConfig } from "./clip-text-config.ts";
export {
  type ConfiguredModel,
  DIFFUSION_WEIGHTS,
  type FolderPlace,
  loadModel,
  MODEL_WEIGHTS,
  saveModel,
  type WeightsDType,
} from "./folder.ts";
export { ImagePreprocessor } from "./image-preprocessor.ts";
export { PixelCodec, type PixelCodecConfig } from "./pixel-codec.ts";
export { UNet2DConditionModel, type UNetOptions } from "./unet.ts";
export type { UNet2DConditionConfig } from "./unet-config.ts";
export { type VisionConfig, VisionTransformer } from "./vit.ts";
