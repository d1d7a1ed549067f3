/** The BLIP scorer: how well picture and prompt fit, by BLIP's contrastive features or by its matching head (arXiv 2201.12086). */
import {
  BLIP_TRAINING_STATE,
  BlipPretrainingModel,
  blipFileConfig,
  ImagePreprocessor,
  type JsonObject,
  loadModel,
  loadTokenizer,
  type ModelFolder,
  openCheckpoint,
  POSITION_IDS,
  type Tokenizer,
  unitRows,
} from "@refl/models";
import { CheckpointError, type Device, type Tensor } from "@refl/tensor";
import { distinct, rowsOf } from "./encoded-pictures.ts";
import { tokenize } from "./image-reward.ts";
import { type ModelPlace, medConfigBeside, type PictureScorer, placeName, placeOf } from "./scorer.ts";
import { blipTokenizer, checkTokenizer } from "./tokenizers.ts";

/** `itc`: the cosine of picture and prompt, each encoded alone, as ImageReward is compared with. `itm`: the matching head's probability. */
export const BLIP_HEADS = ["itc", "itm"] as const;

export type BlipHead = (typeof BLIP_HEADS)[number];

export interface LoadBlipOptions {
  /** Default `itc`. */
  readonly head?: BlipHead;
  /** Default: the one that lies beside the weights, see `blipTokenizer`. With `itm` BERT's is given `[ENC]` as its first token. */
  readonly tokenizer?: Tokenizer | ModelPlace;
  /** Sizes of the text tower. Default: `med_config.json` beside a released file, else the released one. */
  readonly medConfig?: JsonObject;
}

export class BlipScorer implements PictureScorer {
  readonly name = "blip";
  readonly device: Device;
  readonly model: BlipPretrainingModel;
  readonly tokenizer: Tokenizer;
  readonly head: BlipHead;
  readonly #preprocessor: ImagePreprocessor;

  constructor(device: Device, model: BlipPretrainingModel, tokenizer: Tokenizer, head: BlipHead = "itc") {
    this.device = device;
    this.model = model;
    this.tokenizer = tokenizer;
    this.head = head;
    const { image_mean, image_std } = model.config;
    this.#preprocessor = new ImagePreprocessor(this.imageSize, image_mean, image_std);
  }

  /**
   * Opens a file with the keys of BLIP's pre-training (`model_large.pth`, `model_base.pth`) or a folder of a `BlipPretrainingModel`.
   * @throws CheckpointError when weights are missing, damaged or do not fit, or the tokenizer is missing; DataError for a wrong config
   */
  static async load(
    source: ModelFolder | ModelPlace,
    device: Device,
    options: LoadBlipOptions = {},
  ): Promise<BlipScorer> {
    const place = placeOf(source);
    const { head = "itc", tokenizer: given } = options;
    const start = head === "itm" ? { start: "[ENC]" } : {};
    const beside = async (): Promise<Tokenizer> =>
      place.file === null ? loadTokenizer(place.folder) : blipTokenizer(place, null, start);
    const tokenizer =
      given === undefined ? await beside() : "encode" in given ? given : await blipTokenizer(place, given, start);
    const model = place.file === null ? await loadFolder(place.folder, device) : await loadFile(place, device, options);
    try {
      const { vocab_size: words, max_position_embeddings: positions } = model.config.text;
      checkTokenizer(tokenizer, words, positions, placeName(place));
      return new BlipScorer(device, model.eval() as BlipPretrainingModel, tokenizer, head);
    } catch (error) {
      model.dispose();
      throw error;
    }
  }

  get imageSize(): number {
    return this.model.config.vision.image_size;
  }

  /** Image tokens [B, tokens, embed_dim] for the matching head, the picture's feature [B, embed_dim] of unit length for the cosine. */
  encodeImages(pictures: Tensor): Tensor {
    const tokens = this.model.visual_encoder.forward(this.#preprocessor.forward(pictures));
    if (this.head === "itm") return tokens;
    return unitRows(this.model.vision_proj.forward(tokens.select(1, 0)));
  }

  scoreEncoded(encoded: Tensor, prompts: readonly string[]): Tensor {
    if (this.head === "itm") {
      const { ids, mask } = tokenize(this.device, this.tokenizer, prompts);
      return this.model.itmLogits(encoded, ids, mask).softmax(1).select(1, 1);
    }
    const { texts, places } = distinct(prompts);
    const { ids, mask } = tokenize(this.device, this.tokenizer, texts);
    const states = this.model.text_encoder.forward(ids, mask, null);
    const features = unitRows(this.model.text_proj.forward(states.select(1, 0)));
    return encoded.mul(rowsOf(features, places)).sum(1);
  }

  dispose(): void {
    this.#preprocessor.dispose();
    this.model.dispose();
  }
}

async function loadFolder(folder: ModelFolder, device: Device): Promise<BlipPretrainingModel> {
  if (!(await folder.exists("config.json")))
    throw new CheckpointError(
      folder.name,
      "holds no BLIP: expected config.json and model.safetensors, or name its file",
    );
  return loadModel((config, file) => new BlipPretrainingModel(config, file), folder, device);
}

async function loadFile(place: ModelPlace, device: Device, options: LoadBlipOptions): Promise<BlipPretrainingModel> {
  const checkpoint = await openCheckpoint(await place.folder.open(place.file!));
  try {
    const text = options.medConfig ?? (await medConfigBeside(place));
    const model = new BlipPretrainingModel(blipFileConfig(checkpoint, text), placeName(place));
    try {
      await model.load(checkpoint, { device, ignore: [POSITION_IDS, ...BLIP_TRAINING_STATE] });
      return model;
    } catch (error) {
      model.dispose();
      throw error;
    }
  } finally {
    await checkpoint.close();
  }
}
