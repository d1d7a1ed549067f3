/** Models under the names and keys of their released checkpoints. */
export { type AestheticConfig, AestheticPredictor } from "./aesthetic.ts";
export { AutoencoderKL, autoencoderRename, type DiagonalGaussian, sampleGaussian } from "./autoencoder-kl.ts";
export { type AutoencoderKLConfig, SD1_VAE_CONFIG } from "./autoencoder-kl-config.ts";
export { AutoencoderTiny, type AutoencoderTinyConfig, taesdRename } from "./autoencoder-tiny.ts";
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
export { BLIP_TRAINING_STATE, blipFileConfig } from "./blip-file.ts";
export { ConvClassifier, type ConvClassifierConfig } from "./classifier.ts";
export { CLIP_TEXT_KEYS, CLIPModel, CLIPVisionModelWithProjection } from "./clip.ts";
export { CLIP_VIT_L_14_CONFIG, type CLIPConfig, type CLIPVisionConfig } from "./clip-config.ts";
export { CLIPTextModel, CLIPTextTransformer } from "./clip-text.ts";
export { type CLIPTextConfig, SD1_TEXT_CONFIG } from "./clip-text-config.ts";
export { CLIPVisionTransformer } from "./clip-vision.ts";
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
export { SD1_UNET_CONFIG, type UNet2DConditionConfig } from "./unet-config.ts";
export { type VisionConfig, VisionTransformer } from "./vit.ts";
