/** What every scorer of pictures offers, and the names of those that there are. */
import type { JsonObject, ModelFolder, PillowImage, Tokenizer } from "@refl/models";
import { pillowSquare } from "@refl/models";
import type { Device, Tensor } from "@refl/tensor";
import type { RgbImage } from "../io/grid.ts";

/** The scorers, one module each. */
export const SCORERS = ["imagereward", "clip", "aesthetic", "blip"] as const;

/** The name of a scorer. */
export type ScorerName = (typeof SCORERS)[number];

/** An image tower, whose result is kept for further prompts, and what is made of it with a prompt. */
export interface PictureScorer {
  readonly name: ScorerName;
  readonly device: Device;
  /** Side in pixels of the squares that the image tower takes. */
  readonly imageSize: number;
  /** `null` where a prompt plays no part. */
  readonly tokenizer: Tokenizer | null;
  /** Pictures [B, 3, H, W] in 0..1 → what the image tower makes of them, [B, …]. Differentiable. */
  encodeImages(pictures: Tensor): Tensor;
  /** Scores [B] of what `encodeImages` made, for one prompt each. Differentiable. */
  scoreEncoded(encoded: Tensor, prompts: readonly string[]): Tensor;
  /** Gives the memory of all weights back. */
  dispose(): void;
}

/** A picture to be scored: bytes in the mode in which Pillow would hold them, or plain RGB. */
export type Picture = PillowImage | RgbImage;

/** The square that an image tower of `size` takes, `size` x `size` x 3 bytes: resized, cut and rounded as Pillow does. Throws `ShapeError`. */
export function squareOf(picture: Picture, size: number): Uint8Array {
  if ("mode" in picture) return pillowSquare(picture, size);
  const { width, height, rgb } = picture;
  return pillowSquare({ mode: "RGB", width, height, data: rgb }, size);
}

/** Where a model lies: a folder, and the file in it that has the weights where the user named one. */
export interface ModelPlace {
  readonly folder: ModelFolder;
  /** Path in the folder, `null` for the folder as a whole. */
  readonly file: string | null;
}

/** A folder as the place of a model. */
export const placeOf = (source: ModelFolder | ModelPlace): ModelPlace =>
  "folder" in source ? source : { folder: source, file: null };

/** What error messages call a place. */
export const placeName = ({ folder, file }: ModelPlace): string =>
  file === null ? folder.name : `${folder.name}/${file}`;

/** The sizes of BLIP's text tower from the `med_config.json` beside a weights file, as the originals ship it; `undefined` where there is none. */
export async function medConfigBeside({ folder, file }: ModelPlace): Promise<JsonObject | undefined> {
  const path = `${file?.slice(0, file.lastIndexOf("/") + 1) ?? ""}med_config.json`;
  return (await folder.exists(path)) ? folder.readJson(path) : undefined;
}

/**
 * Ranks as ImageReward's `inference_rank` gives them: 1 for the highest score, each rank once. Of equal scores the earlier comes first.
 */
export function strictRanks(scores: readonly number[]): number[] {
  const order = scores.map((_, i) => i).sort((a, b) => scores[b]! - scores[a]! || a - b);
  const ranks = new Array<number>(scores.length);
  for (const [place, i] of order.entries()) ranks[i] = place + 1;
  return ranks;
}
