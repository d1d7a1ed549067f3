/** Pictures from files and folders on Node: to be scored, each with the prompt that it was drawn for, and as rankings to train on. */
import { promises as fs } from "node:fs";
import { dirname, join, sep } from "node:path";
import { DataError } from "@refl/tensor";
import { parseComparisons } from "../data/comparisons.ts";
import { decodePixels, readImage } from "../data/image.node.ts";
import { fitSquare } from "../data/resize.ts";
import type { ScoredInput } from "../jobs/score.ts";
import { type RankedPictures, rankedPictures } from "../train/pairs.ts";
import { exists, listFiles, readBytes, readText, storageError } from "./files.node.ts";
import { isPattern, patternMatcher, splitPattern } from "./glob.ts";
import { readImageParameters } from "./parameters.ts";

const PICTURE = /\.(png|jpe?g|webp)$/i;

/** The files that a pattern matches, sorted. Throws `DataError` when there is none. */
async function matchingFiles(pattern: string): Promise<string[]> {
  const { folder, rest } = splitPattern(sep === "/" ? pattern : pattern.split(sep).join("/"));
  const matches = patternMatcher(rest);
  const found = (await exists(folder)) ? (await listFiles(folder)).filter(matches) : [];
  if (!found.length) throw new DataError(pattern, 0, "images", "no file matches this pattern");
  return found.map((name) => (folder === "." ? name : join(folder, ...name.split("/"))));
}

/**
 * The picture files that a list of files, folders and patterns names: folders stand for all pictures in and below them, in the order of their names;
 * patterns for the files that match; each file comes once. Throws `StorageError` for a file or folder, `DataError` for a pattern that there is none of.
 */
export async function pictureFiles(paths: readonly string[]): Promise<string[]> {
  const files = new Set<string>();
  for (const path of paths) {
    if (isPattern(path) && !(await exists(path))) {
      for (const file of await matchingFiles(path)) files.add(file);
      continue;
    }
    let folder: boolean;
    try {
      folder = (await fs.stat(path)).isDirectory();
    } catch (cause) {
      throw storageError(path, cause);
    }
    if (!folder) files.add(path);
    else for (const name of await listFiles(path)) if (PICTURE.test(name)) files.add(join(path, ...name.split("/")));
  }
  return [...files];
}

/**
 * Picture files (PNG, JPEG, WebP) with the prompts that they are scored for, each read when its turn comes. Without `prompts`, each file must be a PNG
 * that tells its own in its parameters. With `prompts` null none is looked for.
 * Throws `DataError` for a picture without a prompt, `StorageError` for a file that cannot be read; reading throws either, or `DataError` for a damaged one.
 */
export async function scoredInputs(
  files: readonly string[],
  prompts: readonly string[] | null,
): Promise<ScoredInput[]> {
  const inputs: ScoredInput[] = [];
  for (const file of files) {
    let own = prompts ?? [];
    if (prompts?.length === 0) {
      if (!/\.png$/i.test(file))
        throw new DataError(file, 0, "prompt", "only PNG files carry their prompt: give one with --prompt");
      own = [readImageParameters(await readBytes(file), file).prompt];
    }
    inputs.push({ file, prompts: own, read: async () => decodePixels(await readBytes(file), file) });
  }
  return inputs;
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
