/** A user's own data on Node: folders of pictures with a caption file, and their comparisons. */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { DataError } from "@refl/tensor";
import { type Example, type ExampleSource, readExamples } from "../train/examples.ts";
import { type CaptionEntry, parseCaptions } from "./captions.ts";
import { type Comparison, parseComparisons } from "./comparisons.ts";
import { readImage } from "./image.node.ts";
import { fitSquare } from "./resize.ts";

/** Names that a caption file may have, the first that exists being read. */
export const CAPTION_FILES = ["captions.jsonl", "metadata.jsonl"] as const;

/** Names that a file of comparisons may have. */
export const COMPARISON_FILES = ["comparisons.json", "comparisons.jsonl"] as const;

/** Folder names of a data set's parts. */
export const PART_NAMES = ["train", "validation", "test"] as const;

/** One part of a data set: its folder and the caption and comparison files in it. */
export interface FolderPart {
  readonly name: (typeof PART_NAMES)[number];
  readonly path: string;
  readonly captionFile: string | undefined;
  readonly comparisonFiles: readonly string[];
}

/** A picture of the model's size, HWC bytes [size, size, 3], and its caption. */
export interface OwnPicture {
  readonly rgb: Uint8Array;
  readonly caption: string;
  readonly file: string;
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const reason =
      code === "ENOENT" ? "no such folder" : code === "ENOTDIR" ? "is no folder" : `cannot be read (${code})`;
    throw new DataError(folder, 0, "", reason);
  }
}

async function partOf(name: FolderPart["name"], path: string): Promise<FolderPart> {
  const names = await namesIn(path);
  const captionFile = CAPTION_FILES.find((file) => names.includes(file));
  return {
    name,
    path,
    captionFile: captionFile && join(path, captionFile),
    comparisonFiles: COMPARISON_FILES.filter((file) => names.includes(file)).map((file) => join(path, file)),
  };
}

/** The parts of a data set: the folders train, validation and test where they exist, else the folder itself as train. DataError if there is no such folder. */
export async function partsOfFolder(folder: string): Promise<FolderPart[]> {
  const names = await namesIn(folder);
  const parts: FolderPart[] = [];
  for (const name of PART_NAMES) {
    if (names.includes(name) && (await stat(join(folder, name))).isDirectory()) {
      parts.push(await partOf(name, join(folder, name)));
    }
  }
  return parts.length > 0 ? parts : [await partOf("train", folder)];
}

/** The captions of a part. DataError when it has no caption file, or for the first broken record. */
export async function readCaptions(part: FolderPart): Promise<CaptionEntry[]> {
  if (!part.captionFile) throw new DataError(part.path, 0, "", `has no ${CAPTION_FILES.join(" or ")}`);
  return parseCaptions(part.captionFile, await readFile(part.captionFile, "utf8"));
}

/** The pictures of a part one by one, each cut to its middle square and brought to `size` pixels. */
export async function* readPictures(part: FolderPart, size: number): AsyncGenerator<OwnPicture> {
  for (const { fileName, text } of await readCaptions(part)) {
    const file = join(part.path, fileName);
    yield { rgb: fitSquare(await readImage(file), size), caption: text, file };
  }
}

/** All comparisons of a part, in the files' order; none when it has no such file. */
export async function readComparisons(part: FolderPart): Promise<Comparison[]> {
  const lists = await Promise.all(
    part.comparisonFiles.map(async (file) => parseComparisons(file, await readFile(file, "utf8"))),
  );
  return lists.flat();
}

/** Bytes of pictures that are kept once they were read. */
const KEPT_BYTES = 2 ** 28;

/**
 * The training pictures of a folder as examples of any size: captions are read now, pictures when they are drawn, and the last 256 MiB of them are kept.
 * DataError when there is no such folder or no caption file, for a broken record, and later for a picture that cannot be read.
 */
export async function folderExamples(folder: string): Promise<(size: number) => ExampleSource> {
  const part = (await partsOfFolder(folder)).find(({ name }) => name === "train");
  const entries = part ? await readCaptions(part) : [];
  return (size) => {
    const kept = new Map<number, Promise<Example>>();
    const most = Math.max(1, Math.floor(KEPT_BYTES / (3 * size * size)));
    const read = async (index: number): Promise<Example> => {
      const { fileName, text } = entries[index]!;
      return { rgb: fitSquare(await readImage(join(part!.path, fileName)), size), caption: text };
    };
    const captions = entries.map(({ text }) => text);
    return readExamples(folder, size, captions, (index) => {
      const picture = kept.get(index) ?? read(index);
      // Moved to the end: the one longest unused goes first.
      kept.delete(index);
      kept.set(index, picture);
      if (kept.size > most) kept.delete(kept.keys().next().value!);
      return picture;
    });
  };
}
