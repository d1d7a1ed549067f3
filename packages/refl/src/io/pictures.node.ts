/** Pictures from files and folders on Node: to be scored, each with the prompt that it was drawn for, and as rankings to train on. */
import { promises as fs } from "node:fs";
import { dirname, join } from "node:path";
import { DataError } from "@refl/tensor";
import { parseComparisons } from "../data/comparisons.ts";
import { readImage } from "../data/image.node.ts";
import { fitSquare } from "../data/resize.ts";
import { type RankedPictures, rankedPictures } from "../train/pairs.ts";
import { listFiles, readBytes, readText, storageError } from "./files.node.ts";
import type { RgbImage } from "./grid.ts";
import { readImageParameters } from "./parameters.ts";

/** A picture, where it came from, and its prompt. */
export interface PromptedPicture {
  readonly file: string;
  readonly prompt: string;
  readonly image: RgbImage;
}

const PICTURE = /\.(png|jpe?g|webp)$/i;

/** The picture files that a list of files and folders names: folders stand for all pictures in and below them, in the order of their names. */
export async function pictureFiles(paths: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for (const path of paths) {
    let folder: boolean;
    try {
      folder = (await fs.stat(path)).isDirectory();
    } catch (cause) {
      throw storageError(path, cause);
    }
    if (!folder) files.push(path);
    else for (const name of await listFiles(path)) if (PICTURE.test(name)) files.push(join(path, ...name.split("/")));
  }
  return files;
}

/**
 * Reads pictures (PNG, JPEG, WebP). Without `prompt`, each file must be a PNG that tells its own in its parameters.
 * Throws `DataError` for a damaged picture or one without a prompt, `StorageError` for a file that cannot be read.
 */
export async function* readPrompted(files: readonly string[], prompt?: string): AsyncGenerator<PromptedPicture> {
  for (const file of files) {
    let own = prompt;
    if (own === undefined) {
      if (!/\.png$/i.test(file))
        throw new DataError(file, 0, "prompt", "only PNG files carry their prompt: give one with --prompt");
      own = readImageParameters(await readBytes(file), file).prompt;
    }
    yield { file, prompt: own, image: await readImage(file) };
  }
}

/**
 * Rankings of a comparisons file with their pictures, which it names relative to its own folder, brought to `size` x `size`.
 * Throws `DataError` naming file and line for a broken record or picture, `StorageError` when the file cannot be read.
 */
export async function readRankings(file: string, size: number): Promise<RankedPictures[]> {
  const comparisons = parseComparisons(file, await readText(file));
  const pixels = new Map<string, Uint8Array>();
  for (const name of new Set(comparisons.flatMap(({ generations }) => generations)))
    pixels.set(name, fitSquare(await readImage(join(dirname(file), name)), size));
  return rankedPictures(comparisons, (name) => pixels.get(name)!);
}
