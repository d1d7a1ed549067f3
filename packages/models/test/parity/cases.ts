/** The full-size models that are compared with PyTorch, and what is asked of each; `reference/golden/full.py` has the same under the same names. */
import type { Tensor } from "@refl/tensor";
import { AestheticPredictor } from "../../src/models/aesthetic.ts";
import { AutoencoderKL } from "../../src/models/autoencoder-kl.ts";
import { SD1_VAE_CONFIG } from "../../src/models/autoencoder-kl-config.ts";
import { AutoencoderTiny } from "../../src/models/autoencoder-tiny.ts";
import { BertModel } from "../../src/models/bert.ts";
import { BlipPretrainingModel, BlipRewardModel } from "../../src/models/blip.ts";
import { IMAGE_REWARD_CONFIG, parseBlipConfig } from "../../src/models/blip-config.ts";
import { CLIPModel } from "../../src/models/clip.ts";
import { CLIP_VIT_L_14_CONFIG } from "../../src/models/clip-config.ts";
import { UNet2DConditionModel } from "../../src/models/unet.ts";
import { VisionTransformer } from "../../src/models/vit.ts";
import type { Module } from "../../src/nn/module.ts";

type Tensors = Readonly<Record<string, Tensor>>;
type AnyModule = Module<never[], unknown>;

/** One golden file of `test/golden/parity`. */
export interface ParityCase {
  readonly name: string;
  readonly title: string;
  /** The path of the model in the one whose names its weights follow, with a dot at its end. */
  readonly prefix: string;
  /** Whether it is quick enough to run without `--full`. */
  readonly quick: boolean;
  /** What multiplies the matrices that end BERT's residual branches after seeding. */
  readonly branches: number;
  readonly make: () => AnyModule;
  /** Outputs by name. */
  readonly forward: (model: AnyModule, inputs: Tensors) => Record<string, Tensor>;
}

interface Options<Model> {
  readonly title: string;
  readonly prefix?: string;
  readonly quick?: boolean;
  readonly branches?: number;
  readonly make: () => Model;
  readonly forward: (model: Model, inputs: Tensors) => Record<string, Tensor>;
}

function parityCase<Model extends AnyModule>(name: string, options: Options<Model>): ParityCase {
  const { title, prefix = "", quick = false, branches = 1, make, forward } = options;
  return { name, title, prefix, quick, branches, make, forward: (model, inputs) => forward(model as Model, inputs) };
}

/** `BlipConfig` and `TextConfig` of the released reward model. */
const { vision, text, embed_dim } = IMAGE_REWARD_CONFIG;
const blip = { vision, text, embed_dim };

/**
 * With whole branches the tokens of BERT's deep layers become alike, their self-attention has gradients of 3e-5 beside others of 9, and what is compared there is
 * rounding: PyTorch's own f32 differs from its float64 by 2e-3.
 */
const BERT_BRANCHES = 0.25;

const unet = (name: string, title: string): ParityCase =>
  parityCase(name, {
    title,
    make: () => new UNet2DConditionModel({ cross_attention_dim: 768 }),
    forward: (model, { sample, timestep, states }) => ({ sample: model.forward(sample!, timestep!, states!) }),
  });

const aesthetic = (name: string, title: string, activation: "none" | "relu"): ParityCase =>
  parityCase(name, {
    title,
    quick: true,
    make: () => new AestheticPredictor({ activation }),
    forward: (model, { embedding }) => ({ score: model.forward(embedding!) }),
  });

export const PARITY_CASES: readonly ParityCase[] = [
  parityCase("taesd", {
    title: "TAESD, 128×128 pixels",
    quick: true,
    make: () => new AutoencoderTiny(),
    forward: (model, { image, latents }) => ({ latents: model.encode(image!), image: model.decode(latents!) }),
  }),
  parityCase("autoencoder_kl_encode", {
    title: "AutoencoderKL encode, 64×64 pixels",
    quick: true,
    make: () => new AutoencoderKL(SD1_VAE_CONFIG),
    forward: (model, { image }) => ({ ...model.encode(image!) }),
  }),
  parityCase("autoencoder_kl_decode", {
    title: "AutoencoderKL decode, 8×8 latents",
    quick: true,
    make: () => new AutoencoderKL(SD1_VAE_CONFIG),
    forward: (model, { latents }) => ({ image: model.decode(latents!) }),
  }),
  parityCase("vit_l_16", {
    title: "ViT-L/16",
    prefix: "blip.visual_encoder.",
    make: () => new VisionTransformer(parseBlipConfig(blip).vision),
    forward: (model, { image }) => ({ tokens: model.forward(image!) }),
  }),
  parityCase("bert_med", {
    title: "BERT-MED with cross-attention",
    prefix: "blip.text_encoder.",
    branches: BERT_BRANCHES,
    make: () => new BertModel(parseBlipConfig(blip).text, vision.embed_dim),
    forward: (model, { tokens, input_ids, attention_mask }) => ({
      states: model.forward(input_ids!, attention_mask!, tokens!),
    }),
  }),
  parityCase("image_reward", {
    title: "ImageReward",
    branches: BERT_BRANCHES,
    make: () => new BlipRewardModel(IMAGE_REWARD_CONFIG),
    forward: (model, { image, input_ids, attention_mask }) => {
      const features = model.blip.features(model.encodeImage(image!), input_ids!, attention_mask!);
      return { features, reward: model.normalise(model.mlp.forward(features)) };
    },
  }),
  parityCase("blip_itc", {
    title: "BLIP contrastive (ITC), two texts",
    prefix: "blip.",
    branches: BERT_BRANCHES,
    make: () => new BlipPretrainingModel(blip),
    forward: (model, { image, input_ids, attention_mask }) => {
      const features = model.itcFeatures(model.visual_encoder.forward(image!), input_ids!, attention_mask!);
      return { image_features: features.image, text_features: features.text, logits: model.itcLogits(features) };
    },
  }),
  parityCase("blip_itm", {
    title: "BLIP matching (ITM)",
    prefix: "blip.",
    branches: BERT_BRANCHES,
    make: () => new BlipPretrainingModel(blip),
    forward: (model, { image, input_ids, attention_mask }) => ({
      logits: model.forward(image!, input_ids!, attention_mask!),
    }),
  }),
  parityCase("clip_vit_l_14", {
    title: "CLIP ViT-L/14, both towers",
    make: () => new CLIPModel(CLIP_VIT_L_14_CONFIG),
    forward: (model, { pixels, input_ids }) => {
      const [image, text] = [model.imageFeatures(pixels!), model.textFeatures(input_ids!)];
      return { image, text, logits: model.logits(image, text) };
    },
  }),
  aesthetic("aesthetic_linear", "Aesthetic MLP, four embeddings", "none"),
  aesthetic("aesthetic_relu", "Aesthetic MLP with ReLU, four embeddings", "relu"),
  unet("unet_sd1_32", "SD1 UNet, 32×32 latents"),
  unet("unet_sd1_8", "SD1 UNet, 8×8 latents"),
];
