/** What every tokenizer offers, so that a model takes a closed word list, CLIP's BPE or BERT's WordPiece alike. */

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
}

export interface Tokenizer {
  /** Number of ids: all ids are in [0, vocabSize). */
  readonly vocabSize: number;
  readonly padId: number;
  /** The length limit when `encode` is given none. */
  readonly maxLength: number;
  encode(text: string, options?: EncodeOptions): Encoding;
}
