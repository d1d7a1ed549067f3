/** Tokenizers of scorers: the one that the user named, else the one that lies beside the weights. */
import {
  BertTokenizer,
  BLIP_TOKENS,
  CLIPTokenizer,
  IMAGE_REWARD_LENGTH,
  loadTokenizer,
  type ModelFolder,
  readAll,
  readTextFile,
  subfolder,
  type Tokenizer,
} from "@refl/models";
import { CheckpointError, DataError } from "@refl/tensor";
import { type ModelPlace, placeName } from "./scorer.ts";

/** Tokens read of a prompt, and the first of them, where they are not the usual ones. */
export interface ScorerTokenizerOptions {
  readonly maxLength?: number;
  /** `[ENC]` for BLIP's matching head; default `[CLS]`. */
  readonly start?: string;
}

const VOCABULARIES = ["vocab.txt", "bert-base-uncased/vocab.txt"] as const;

async function bertFile(folder: ModelFolder, file: string, options: ScorerTokenizerOptions): Promise<BertTokenizer> {
  return BertTokenizer.forBlip(await readTextFile(folder, file), `${folder.name}/${file}`, options);
}

/**
 * BERT's tokenizer as BLIP extends it: of `place` (a `vocab.txt`, or a folder), else `tokenizer/` or `vocab.txt` beside the weights. A folder with a word
 * list, as this project's small models have it, gives that.
 * @throws CheckpointError that says what to put where when there is none
 */
export async function blipTokenizer(
  weights: ModelPlace,
  place: ModelPlace | null,
  options: ScorerTokenizerOptions = {},
): Promise<Tokenizer> {
  const { maxLength = IMAGE_REWARD_LENGTH, start } = options;
  const limits = { maxLength, ...(start === undefined ? {} : { start }) };
  if (place && place.file !== null) return bertFile(place.folder, place.file, limits);
  const folder = place?.folder ?? weights.folder;
  for (const file of VOCABULARIES) if (await folder.exists(file)) return bertFile(folder, file, limits);
  for (const path of ["tokenizer", ""]) {
    const at = path ? subfolder(folder, path) : folder;
    if (await at.exists("vocab.txt")) return BertTokenizer.fromFolder(at, { added: BLIP_TOKENS, ...limits });
    if (await at.exists("tokenizer.json")) return loadTokenizer(folder, { path, maxLength });
  }
  throw new CheckpointError(
    placeName(weights),
    `its tokenizer is missing: ${folder.name} has neither vocab.txt nor tokenizer/; put the vocab.txt of bert-base-uncased there, or name it`,
  );
}

const MERGES = ["bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6.txt"] as const;

async function mergeList(folder: ModelFolder, file: string, usage: ClipUsage): Promise<CLIPTokenizer> {
  const source = await folder.open(file);
  try {
    return await CLIPTokenizer.fromMergeList(await readAll(source), source.name, CLIP_USAGES[usage]);
  } finally {
    await source.close();
  }
}

/** How texts are tidied and filled up: as the `clip` package does for its scores, or as transformers does for Stable Diffusion 1. */
type ClipUsage = "scoring" | "diffusion";

const CLIP_USAGES = {
  scoring: { cleanup: "openai", pad: null },
  diffusion: { cleanup: "nfc", pad: "<|endoftext|>" },
} as const;

/**
 * CLIP's tokenizer: of `place` (OpenAI's merge list, or a folder), else beside the weights.
 * @throws CheckpointError that says what to put where when there is none
 */
export async function clipTokenizer(
  weights: ModelPlace,
  place: ModelPlace | null,
  usage: ClipUsage = "scoring",
): Promise<Tokenizer> {
  if (place && place.file !== null) return mergeList(place.folder, place.file, usage);
  const folder = place?.folder ?? weights.folder;
  const { cleanup } = CLIP_USAGES[usage];
  for (const path of ["", "tokenizer"]) {
    const at = path ? subfolder(folder, path) : folder;
    for (const file of ["vocab.json", "tokenizer.json"])
      if (await at.exists(file)) return loadTokenizer(folder, { path, cleanup });
  }
  for (const file of MERGES) if (await folder.exists(file)) return mergeList(folder, file, usage);
  throw new CheckpointError(
    placeName(weights),
    `its tokenizer is missing: ${folder.name} has neither vocab.json and merges.txt nor ${MERGES[0]}; put them there, or name them with --tokenizer`,
  );
}

/** @throws DataError when a tokenizer makes ids that the text tower has no row for, or more of them than it has positions */
export function checkTokenizer(tokenizer: Tokenizer, words: number, positions: number, file: string): void {
  if (tokenizer.vocabSize > words)
    throw new DataError(file, 0, "tokenizer", `has ${tokenizer.vocabSize} ids, the text tower has ${words}`);
  if (tokenizer.maxLength > positions)
    throw new DataError(file, 0, "tokenizer", `makes ${tokenizer.maxLength} tokens, the text tower takes ${positions}`);
}
