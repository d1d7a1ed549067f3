/** The ImageReward scorer: prompts and pictures to rewards, for reading and for gradients. */
import { noGrad } from "@refl/autograd";
import {
  BlipRewardModel,
  blipFileConfig,
  type Checkpoint,
  IMAGE_REWARD_CONFIG,
  isJsonObject,
  type JsonObject,
  loadModel,
  loadTokenizer,
  type ModelFolder,
  openCheckpoint,
  POSITION_IDS,
  type Tokenizer,
} from "@refl/models";
import {
  CheckpointError,
  type Device,
  type HostTensor,
  type HostTensors,
  ShapeError,
  scope,
  type Tensor,
  tensor,
  toDevice,
} from "@refl/tensor";
import { EncodedPictures, scoreForPrompt } from "./encoded-pictures.ts";
import {
  type ModelPlace,
  medConfigBeside,
  type Picture,
  type PictureScorer,
  placeName,
  placeOf,
  strictRanks,
} from "./scorer.ts";
import { blipTokenizer, checkTokenizer } from "./tokenizers.ts";

/** Token ids and attention masks (1 = a token), both i32 [B, T]. */
export type TokenTensors = { readonly ids: Tensor; readonly mask: Tensor };

/** Texts as padded tokens on the host. */
export function tokenData(tokenizer: Tokenizer, texts: readonly string[]): HostTensors<TokenTensors> {
  const encoded = texts.map((text) => tokenizer.encode(text));
  const length = encoded[0]?.ids.length ?? 0;
  const flat = (rows: ArrayLike<number>[]): Int32Array => Int32Array.from(rows.flatMap((row) => Array.from(row)));
  const rows = (values: Int32Array): HostTensor => ({ values, shape: [texts.length, length], dtype: "i32" });
  return { ids: rows(flat(encoded.map((e) => e.ids))), mask: rows(flat(encoded.map((e) => e.mask))) };
}

/** Texts as padded tokens. */
export function tokenize(device: Device, tokenizer: Tokenizer, texts: readonly string[]): TokenTensors {
  return toDevice(device, tokenData(tokenizer, texts));
}

/** Pictures scored at once when reading scores of small pictures. */
const BATCH = 64;

/** Pictures that go through the towers together when picture files are scored. */
const FILE_BATCH = 16;

/** The file of the released weights. */
const RELEASED = "ImageReward.pt";

export interface LoadImageRewardOptions {
  /** Default: the one that lies beside the weights, see `blipTokenizer`. */
  readonly tokenizer?: Tokenizer | ModelPlace;
  /** Sizes of the text tower. Default: `med_config.json` beside a released file, else the released one. */
  readonly medConfig?: JsonObject;
  /** Tokens read of a prompt, where the tokenizer is not a given one. Default 35. */
  readonly maxLength?: number;
  /** Fields over those that a released file's weights tell, such as `mean` and `std` of a model of one's own. */
  readonly config?: JsonObject;
}

/** Ranks, 1 the best, and rewards of pictures in their order. */
export interface Ranking {
  readonly ranks: number[];
  readonly rewards: number[];
}

/**
 * A reward model with its tokenizer: `reward(prompt, image) = (MLP(h_CLS) − mean) / std` (arXiv 2304.05977). What its vision tower makes of pictures
 * is kept for further prompts, up to 256 MiB, until `dispose`: weights must not change after pictures were scored by `score(prompt, …)` or `rank`.
 */
export class ImageReward implements PictureScorer {
  readonly name = "imagereward";
  readonly model: BlipRewardModel;
  readonly tokenizer: Tokenizer;
  readonly device: Device;
  readonly #pictures: EncodedPictures;

  constructor(device: Device, model: BlipRewardModel, tokenizer: Tokenizer) {
    this.device = device;
    this.model = model;
    this.tokenizer = tokenizer;
    this.#pictures = new EncodedPictures(this);
  }

  /**
   * Opens the released `ImageReward.pt` (or a file with its keys) or a model folder as training leaves it.
   * @param source a folder, which holds either, or a file's place
   * @throws CheckpointError when weights are missing, damaged or do not fit, or the tokenizer is missing; DataError for a wrong config
   */
  static async load(
    source: ModelFolder | ModelPlace,
    device: Device,
    options: LoadImageRewardOptions = {},
  ): Promise<ImageReward> {
    const place = placeOf(source);
    const { folder } = place;
    if (place.file !== null) return loadReleased({ folder, file: place.file }, device, options);
    if ((await folder.exists("config.json")) && (await folder.exists("model.safetensors"))) {
      const model = await loadModel((config, file) => new BlipRewardModel(config, file), folder, device);
      return finish(model, place, device, options, () => loadTokenizer(folder));
    }
    if (await folder.exists(RELEASED)) return loadReleased({ folder, file: RELEASED }, device, options);
    throw new CheckpointError(
      folder.name,
      `holds no reward model: expected config.json and model.safetensors, as \`train reward\` leaves them, or ${RELEASED}`,
    );
  }

  get imageSize(): number {
    return this.model.config.vision.image_size;
  }

  /** Rewards [B] of pictures [B, 3, H, W] in 0..1 for one prompt each; differentiable with respect to the pictures. */
  scoreTensor(prompts: readonly string[], pictures: Tensor): Tensor {
    if (pictures.shape[0] !== prompts.length)
      throw new ShapeError("scoreTensor", [pictures.shape, [prompts.length]], "needs one prompt for each picture");
    return this.scoreEncoded(this.imageTokens(pictures), prompts);
  }

  /** What the vision tower makes of pictures [B, 3, H, W] in 0..1. */
  imageTokens(pictures: Tensor): Tensor {
    return this.model.encodeImage(this.model.preprocess(pictures));
  }

  encodeImages(pictures: Tensor): Tensor {
    return this.imageTokens(pictures);
  }

  scoreEncoded(encoded: Tensor, prompts: readonly string[]): Tensor {
    const { ids, mask } = tokenize(this.device, this.tokenizer, prompts);
    return this.model.normalise(this.model.rawReward(encoded, ids, mask).reshape(-1));
  }

  /** The head's own output [B], before normalisation: what training compares. */
  rawReward(prompts: readonly string[], pictures: Tensor): Tensor {
    return this.rawRewardOfTokens(tokenize(this.device, this.tokenizer, prompts), pictures);
  }

  /** As {@link rawReward} for prompts that are tokens already, as captured steps have them. */
  rawRewardOfTokens({ ids, mask }: TokenTensors, pictures: Tensor): Tensor {
    return this.model.rawReward(this.imageTokens(pictures), ids, mask).reshape(-1);
  }

  /** The reward of a picture for a prompt. The picture is resized, cut and rounded as Pillow does. */
  score(prompt: string, image: Picture): Promise<number>;
  /** The rewards of pictures for a prompt, in their order. */
  score(prompt: string, images: readonly Picture[]): Promise<number[]>;
  /** Rewards of pictures of one size for a prompt each, `rgb` [B, 3, size, size] in 0..1. */
  score(prompts: readonly string[], rgb: Float32Array, size: number): Promise<Float32Array>;
  async score(
    prompt: string | readonly string[],
    images: Picture | readonly Picture[] | Float32Array,
    size = 0,
  ): Promise<number | number[] | Float32Array> {
    if (typeof prompt !== "string") return this.#scoreFloats(prompt, images as Float32Array, size);
    const list = Array.isArray(images) ? (images as readonly Picture[]) : [images as Picture];
    const rewards = await scoreForPrompt(this, this.#pictures, prompt, list, FILE_BATCH);
    return Array.isArray(images) ? rewards : rewards[0]!;
  }

  /** Ranks of pictures for a prompt, and their rewards, as the original's `inference_rank` gives them; of equal rewards the earlier picture comes first. */
  async rank(prompt: string, images: readonly Picture[]): Promise<Ranking> {
    const rewards = await this.score(prompt, images);
    return { ranks: strictRanks(rewards), rewards };
  }

  /** Gives the memory of weights and of kept pictures back. */
  dispose(): void {
    this.#pictures.dispose();
    this.model.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async #scoreFloats(prompts: readonly string[], rgb: Float32Array, size: number): Promise<Float32Array> {
    const all = new Float32Array(prompts.length);
    const each = 3 * size * size;
    for (let start = 0; start < prompts.length; start += BATCH) {
      const part = prompts.slice(start, start + BATCH);
      const rewards = noGrad(() =>
        scope(() =>
          this.scoreTensor(
            part,
            tensor(this.device, rgb.subarray(start * each, (start + part.length) * each), [part.length, 3, size, size]),
          ),
        ),
      );
      all.set((await rewards.data()) as Float32Array, start);
      rewards.dispose();
    }
    return all;
  }
}

/** The config of a released file: sizes from its weights and from `med_config.json`, the rest ImageReward's. */
async function releasedConfig(
  place: ModelPlace,
  checkpoint: Checkpoint,
  { medConfig, config = {} }: LoadImageRewardOptions,
): Promise<JsonObject> {
  const text = medConfig ?? (await medConfigBeside(place));
  const { mean, std } = IMAGE_REWARD_CONFIG;
  const told = { ...blipFileConfig(checkpoint, text, "blip."), mean, std };
  const over = Object.entries(config).map(([key, value]) => {
    const under = (told as JsonObject)[key];
    return [key, isJsonObject(value) && isJsonObject(under) ? { ...under, ...value } : value] as const;
  });
  return { ...told, ...Object.fromEntries(over) };
}

async function loadReleased(
  place: { readonly folder: ModelFolder; readonly file: string },
  device: Device,
  options: LoadImageRewardOptions,
): Promise<ImageReward> {
  const checkpoint = await openCheckpoint(await place.folder.open(place.file));
  try {
    const model = new BlipRewardModel(await releasedConfig(place, checkpoint, options), placeName(place));
    try {
      await model.load(checkpoint, { device, ignore: [POSITION_IDS] });
    } catch (error) {
      model.dispose();
      throw error;
    }
    const { maxLength } = options;
    return await finish(model, place, device, options, () =>
      blipTokenizer(place, null, maxLength === undefined ? {} : { maxLength }),
    );
  } finally {
    await checkpoint.close();
  }
}

/** The scorer of a loaded model, with the tokenizer that the options name, else with `beside`. */
async function finish(
  model: BlipRewardModel,
  place: ModelPlace,
  device: Device,
  { tokenizer: given, maxLength }: LoadImageRewardOptions,
  beside: () => Promise<Tokenizer>,
): Promise<ImageReward> {
  try {
    const limits = maxLength === undefined ? {} : { maxLength };
    const tokenizer =
      given === undefined ? await beside() : "encode" in given ? given : await blipTokenizer(place, given, limits);
    const { vocab_size: words, max_position_embeddings: positions } = model.config.text;
    checkTokenizer(tokenizer, words, positions, placeName(place));
    return new ImageReward(device, model.eval() as BlipRewardModel, tokenizer);
  } catch (error) {
    model.dispose();
    throw error;
  }
}
