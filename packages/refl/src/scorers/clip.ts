/** The CLIP scorer: the cosine of a picture's and a prompt's embedding, as ImageReward is compared with. */
import {
  CLIPModel,
  type ConfiguredModel,
  ImagePreprocessor,
  isOpenAIClip,
  loadModel,
  type ModelFolder,
  openAIClip,
  openAIClipConfig,
  openCheckpoint,
  POSITION_IDS,
  type Tokenizer,
  unitRows,
} from "@refl/models";
import type { Device, Tensor } from "@refl/tensor";
import { distinct, rowsOf } from "./encoded-pictures.ts";
import { tokenize } from "./image-reward.ts";
import { type ModelPlace, type PictureScorer, placeName, placeOf } from "./scorer.ts";
import { checkTokenizer, clipTokenizer } from "./tokenizers.ts";

/** Mean and deviation of the colours that CLIP's vision tower expects. */
export const CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073] as const;
export const CLIP_STD = [0.26862954, 0.26130258, 0.27577711] as const;

/**
 * A CLIP, or a part of one, of a folder of transformers, of a file with transformers' names in such a folder, or of a file of OpenAI's.
 * @throws CheckpointError when weights are missing, damaged or do not fit; DataError for a wrong config
 */
export async function loadClip<Model extends ConfiguredModel>(
  make: (config: unknown, file: string) => Model,
  { folder, file }: ModelPlace,
  device: Device,
  ignore: readonly RegExp[] = [],
): Promise<Model> {
  const options = { ignore: [POSITION_IDS, ...ignore] };
  if (file === null) return loadModel<Model>(make, folder, device, options);
  const checkpoint = await openCheckpoint(await folder.open(file));
  try {
    if (!isOpenAIClip(checkpoint)) return await loadModel<Model>(make, folder, device, { ...options, weights: file });
    const clip = openAIClip(checkpoint);
    const model = make(openAIClipConfig(clip), clip.name);
    try {
      await model.load(clip, { ...options, device });
      model.eval();
      return model;
    } catch (error) {
      model.dispose();
      throw error;
    }
  } finally {
    await checkpoint.close();
  }
}

/** score = cos(picture, prompt): no temperature, no factor, from −1 to 1. */
export class ClipScorer implements PictureScorer {
  readonly name = "clip";
  readonly device: Device;
  readonly model: CLIPModel;
  readonly tokenizer: Tokenizer;
  readonly #preprocessor: ImagePreprocessor;

  constructor(device: Device, model: CLIPModel, tokenizer: Tokenizer) {
    this.device = device;
    this.model = model;
    this.tokenizer = tokenizer;
    this.#preprocessor = new ImagePreprocessor(this.imageSize, CLIP_MEAN, CLIP_STD);
  }

  /**
   * Opens a CLIP folder of transformers, or OpenAI's own file (`ViT-L-14.pt`).
   * @throws CheckpointError when weights are missing, damaged or do not fit, or the tokenizer is missing; DataError for a wrong config
   */
  static async load(
    source: ModelFolder | ModelPlace,
    device: Device,
    options: { readonly tokenizer?: Tokenizer | ModelPlace } = {},
  ): Promise<ClipScorer> {
    const place = placeOf(source);
    const { tokenizer: given = null } = options;
    const tokenizer = given && "encode" in given ? given : await clipTokenizer(place, given);
    const make = (config: unknown, file: string): CLIPModel => {
      const model = new CLIPModel(config, file);
      const { vocab_size: words, max_position_embeddings: positions } = model.config.text_config;
      checkTokenizer(tokenizer, words, positions, placeName(place));
      return model;
    };
    const model = await loadClip(make, place, device);
    return new ClipScorer(device, model, tokenizer);
  }

  get imageSize(): number {
    return this.model.config.vision_config.image_size;
  }

  /** Embeddings [B, projection_dim], not of unit length. */
  encodeImages(pictures: Tensor): Tensor {
    return this.model.imageFeatures(this.#preprocessor.forward(pictures));
  }

  scoreEncoded(encoded: Tensor, prompts: readonly string[]): Tensor {
    const { texts, places } = distinct(prompts);
    const features = this.model.textFeatures(tokenize(this.device, this.tokenizer, texts).ids);
    return unitRows(encoded)
      .mul(rowsOf(unitRows(features), places))
      .sum(1);
  }

  dispose(): void {
    this.#preprocessor.dispose();
    this.model.dispose();
  }
}
