/** The aesthetic scorer: LAION's predictors on CLIP's picture embeddings, about 1 to 10; the prompt plays no part. */
import {
  AestheticPredictor,
  CLIP_TEXT_KEYS,
  CLIPVisionModelWithProjection,
  ImagePreprocessor,
  type ModelFolder,
  openCheckpoint,
} from "@refl/models";
import { CheckpointError, DataError, type Device, type Tensor } from "@refl/tensor";
import { CLIP_MEAN, CLIP_STD, loadClip } from "./clip.ts";
import { type ModelPlace, type PictureScorer, placeName, placeOf } from "./scorer.ts";

export class AestheticScorer implements PictureScorer {
  readonly name = "aesthetic";
  readonly device: Device;
  readonly vision: CLIPVisionModelWithProjection;
  readonly predictor: AestheticPredictor;
  readonly tokenizer = null;
  readonly #preprocessor: ImagePreprocessor;

  /** @throws DataError when the predictor is not made for embeddings of CLIP's length */
  constructor(device: Device, vision: CLIPVisionModelWithProjection, predictor: AestheticPredictor) {
    const { embedding_dim: wanted } = predictor.config;
    const { projection_dim: given } = vision.config;
    if (wanted !== given)
      throw new DataError("aesthetic", 0, "head", `takes embeddings of ${wanted} numbers, CLIP's have ${given}`);
    this.device = device;
    this.vision = vision;
    this.predictor = predictor;
    this.#preprocessor = new ImagePreprocessor(this.imageSize, CLIP_MEAN, CLIP_STD);
  }

  /**
   * Opens CLIP's picture side from a folder of transformers or a file of OpenAI's, and a predictor's released file.
   * @throws CheckpointError when weights are missing, damaged or do not fit; DataError for a wrong config
   */
  static async load(source: ModelFolder | ModelPlace, head: ModelPlace, device: Device): Promise<AestheticScorer> {
    const place = placeOf(source);
    if (head.file === null)
      throw new CheckpointError(placeName(head), "is a folder, expected the aesthetic predictor's file");
    const checkpoint = await openCheckpoint(await head.folder.open(head.file));
    let predictor: AestheticPredictor;
    try {
      predictor = await AestheticPredictor.fromCheckpoint(checkpoint, device);
    } finally {
      await checkpoint.close();
    }
    try {
      const make = (config: unknown, file: string) => new CLIPVisionModelWithProjection(config, file);
      const vision = await loadClip(make, place, device, CLIP_TEXT_KEYS);
      try {
        return new AestheticScorer(device, vision, predictor);
      } catch (error) {
        vision.dispose();
        throw error;
      }
    } catch (error) {
      predictor.dispose();
      throw error;
    }
  }

  get imageSize(): number {
    return this.vision.config.vision_config.image_size;
  }

  /** CLIP's embeddings [B, projection_dim], not of unit length. */
  encodeImages(pictures: Tensor): Tensor {
    return this.vision.forward(this.#preprocessor.forward(pictures));
  }

  /** Scores [B] of embeddings of any length; prompts are not looked at. */
  scoreEncoded(encoded: Tensor): Tensor {
    return this.predictor.forward(encoded).reshape(-1);
  }

  dispose(): void {
    this.#preprocessor.dispose();
    this.vision.dispose();
    this.predictor.dispose();
  }
}
