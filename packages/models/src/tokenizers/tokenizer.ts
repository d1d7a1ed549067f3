/** What every tokenizer offers, so that a model takes a closed word list, CLIP's BPE or BERT's WordPiece alike. */
import { DataError } from "@refl/tensor";
import type { WritableModelFolder } from "../formats/folder.ts";

export interface EncodeOptions {
  /** Length limit in tokens, special tokens included; the tokenizer's own by default. */
  readonly maxLength?: number;
  /** `max_length` (default) pads to the limit, `none` leaves short texts short. */
  readonly padding?: "max_length" | "none";
}

export interface Encoding {
  /** Token ids, special tokens and padding included. */
  readonly ids: Int32Array;
  /** As long as `ids`: 1 for a token, 0 for padding. */
  readonly mask: Uint8Array;
  /** Distinct words of the text that the vocabulary lacks, in order of appearance, also those cut off. */
  readonly unknown: readonly string[];
  /** Whether tokens were cut off to keep the limit. */
  readonly truncated: boolean;
  /** Tokens of the whole text, special tokens included, before anything was cut off. */
  readonly length: number;
}

export interface Tokenizer {
  /** The class under which `transformers` opens the files that `save` writes. */
  readonly className: string;
  /** Number of ids: all ids are in [0, vocabSize). */
  readonly vocabSize: number;
  readonly padId: number;
  /** The length limit when `encode` is given none. */
  readonly maxLength: number;
  /** @throws DataError when `maxLength` is below 2. */
  encode(text: string, options?: EncodeOptions): Encoding;
  /** Writes the files that `loadTokenizer` and `transformers` open, below `path` (default `tokenizer`). */
  save(folder: WritableModelFolder, path?: string): Promise<void>;
}

/** start, tokens, end, padding, cut to the limit: the frame that all tokenizers here share. */
export function frame(
  tokens: readonly number[],
  unknown: Iterable<string>,
  special: { readonly start: number; readonly end: number; readonly pad: number },
  maxLength: number,
  padding: "max_length" | "none",
): Encoding {
  if (!Number.isInteger(maxLength) || maxLength < 2) {
    throw new DataError("tokenizer", 0, "maxLength", `${maxLength} leaves no room for the start and end tokens`);
  }
  const kept = Math.min(tokens.length, maxLength - 2);
  const ids = new Int32Array(padding === "max_length" ? maxLength : kept + 2).fill(special.pad);
  ids[0] = special.start;
  for (let i = 0; i < kept; i++) ids[i + 1] = tokens[i] as number;
  ids[kept + 1] = special.end;
  const mask = new Uint8Array(ids.length).fill(1, 0, kept + 2);
  return { ids, mask, unknown: [...new Set(unknown)], truncated: kept < tokens.length, length: tokens.length + 2 };
}

/** What to tell a user whose prompts are longer than the model reads; `undefined` when nothing is cut. */
export function truncationWarning(
  tokenizer: Tokenizer,
  texts: readonly string[],
  maxLength = tokenizer.maxLength,
): string | undefined {
  const cut = texts.flatMap((text) => {
    const { truncated, length } = tokenizer.encode(text, { maxLength, padding: "none" });
    return truncated ? [{ text, length }] : [];
  });
  const [first] = cut;
  if (!first) return undefined;
  const shown = first.text.length > 60 ? `${first.text.slice(0, 60)}…` : first.text;
  return (
    `${cut.length} of ${texts.length} prompts are longer than the ${maxLength} tokens that the model reads; the rest is ignored. ` +
    `The first is ${JSON.stringify(shown)} with ${first.length} tokens`
  );
}
