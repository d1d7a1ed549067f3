/** A tokenizer over a closed list of words: lower case, split at white space and punctuation, one id per word, unknown words reported. */
import { DataError } from "@refl/tensor";
import type { ModelFolder, WritableModelFolder } from "../formats/folder.ts";
import type { JsonObject } from "../formats/json.ts";
import { type EncodeOptions, type Encoding, frame, type Tokenizer } from "./tokenizer.ts";
import {
  parseTokenizerJson,
  toTokenizerConfigJson,
  toTokenizerJson,
  type WordTokenizerSpec,
} from "./word-tokenizer-json.ts";

/** Runs of neither white space nor punctuation, or one punctuation character (Unicode's P and ASCII's symbols). */
const WORDS = /[^\p{White_Space}\p{P}!-/:-@[-`{-~]+|[\p{P}!-/:-@[-`{-~]/gu;

export interface WordTokenizerOptions {
  /** Length in tokens, special tokens included, to which texts are padded and cut. At least 2. */
  readonly maxLength: number;
  /** Default `[CLS]`. */
  readonly start?: string;
  /** Default `[SEP]`. */
  readonly end?: string;
  /** Default `[PAD]`. */
  readonly pad?: string;
  /** Default `[UNK]`. */
  readonly unknown?: string;
}

/**
 * Splits as `Lowercase` and `BertPreTokenizer` of the `tokenizers` library do: lower case, white space separates, each
 * punctuation character is a word of its own.
 */
export function splitWords(text: string): string[] {
  return text.toLowerCase().match(WORDS) ?? [];
}

export class WordTokenizer implements Tokenizer {
  readonly className = "PreTrainedTokenizerFast";
  readonly vocab: readonly string[];
  readonly maxLength: number;
  readonly startId: number;
  readonly endId: number;
  readonly padId: number;
  readonly unknownId: number;
  readonly #spec: WordTokenizerSpec;
  readonly #ids: ReadonlyMap<string, number>;
  readonly #specialIds: ReadonlySet<number>;

  /** @throws DataError naming `file` and the field when a special token is not in the vocabulary, a word stands twice or `maxLength` is below 2. */
  constructor(spec: WordTokenizerSpec, file = "tokenizer.json") {
    if (!Number.isInteger(spec.maxLength) || spec.maxLength < 2) {
      throw new DataError(
        file,
        0,
        "truncation.max_length",
        `${spec.maxLength} leaves no room for the start and end tokens`,
      );
    }
    this.#spec = spec;
    this.vocab = spec.vocab;
    this.maxLength = spec.maxLength;
    this.#ids = new Map(spec.vocab.map((word, id) => [word, id]));
    if (this.#ids.size !== spec.vocab.length) {
      const twice = spec.vocab.find((word, id) => this.#ids.get(word) !== id);
      throw new DataError(file, 0, "model.vocab", `${JSON.stringify(twice)} stands twice`);
    }
    const idOf = (token: string): number => {
      const id = this.#ids.get(token);
      if (id === undefined)
        throw new DataError(file, 0, "model.vocab", `lacks the special token ${JSON.stringify(token)}`);
      return id;
    };
    this.startId = idOf(spec.start);
    this.endId = idOf(spec.end);
    this.padId = idOf(spec.pad);
    this.unknownId = idOf(spec.unknown);
    this.#specialIds = new Set([this.startId, this.endId, this.padId, this.unknownId]);
  }

  /**
   * A tokenizer whose ids are: pad 0, unknown 1, start 2, end 3, then the words in the order given.
   * @throws DataError when a word could never be met, because it is not what `splitWords` makes of it, or stands twice.
   */
  static fromWords(words: Iterable<string>, options: WordTokenizerOptions): WordTokenizer {
    const { maxLength, start = "[CLS]", end = "[SEP]", pad = "[PAD]", unknown = "[UNK]" } = options;
    const list = [...words];
    for (const word of list) {
      const split = splitWords(word);
      if (split.length !== 1 || split[0] !== word) {
        throw new DataError("vocabulary", 0, word, "is not one lower-case word or punctuation character");
      }
    }
    return new WordTokenizer(
      { vocab: [pad, unknown, start, end, ...list], start, end, pad, unknown, maxLength },
      "vocabulary",
    );
  }

  /** @throws DataError naming file and field when the JSON is damaged or describes a tokenizer of another kind. */
  static fromJson(tokenizerJson: unknown, file = "tokenizer.json"): WordTokenizer {
    return new WordTokenizer(parseTokenizerJson(tokenizerJson, file), file);
  }

  /** Reads `<path>/tokenizer.json`. @throws CheckpointError when it is missing; DataError as `fromJson`. */
  static async fromFolder(folder: ModelFolder, path = "tokenizer"): Promise<WordTokenizer> {
    const file = `${path}/tokenizer.json`;
    return WordTokenizer.fromJson(await folder.readJson(file), `${folder.name}/${file}`);
  }

  /** Writes `tokenizer.json` and `tokenizer_config.json`, which the `tokenizers` and `transformers` libraries open. */
  async save(folder: WritableModelFolder, path = "tokenizer"): Promise<void> {
    await folder.writeJson(`${path}/tokenizer.json`, this.toJson());
    await folder.writeJson(`${path}/tokenizer_config.json`, toTokenizerConfigJson(this.#spec));
  }

  /** `tokenizer.json`. */
  toJson(): JsonObject {
    return toTokenizerJson(this.#spec);
  }

  /** `tokenizer_config.json`. */
  toConfigJson(): JsonObject {
    return toTokenizerConfigJson(this.#spec);
  }

  get vocabSize(): number {
    return this.vocab.length;
  }

  /** The id of a word or special token, `undefined` when the vocabulary lacks it. */
  idOf(word: string): number | undefined {
    return this.#ids.get(word);
  }

  /**
   * start, words, end, padding. A text that spells a special token means its characters: no text can inject one.
   * @throws DataError when `maxLength` is below 2.
   */
  encode(text: string, options: EncodeOptions = {}): Encoding {
    const { maxLength = this.maxLength, padding = "max_length" } = options;
    const unknown: string[] = [];
    const tokens = splitWords(text).map((word) => {
      const id = this.#wordId(word);
      if (id === undefined) unknown.push(word);
      return id ?? this.unknownId;
    });
    const special = { start: this.startId, end: this.endId, pad: this.padId };
    return frame(tokens, unknown, special, maxLength, padding);
  }

  /** The words of ids, joined by spaces, special tokens left out unless asked for. */
  decode(ids: Iterable<number>, options: { readonly specialTokens?: boolean } = {}): string {
    const words: string[] = [];
    for (const id of ids) {
      if (this.#specialIds.has(id) && !options.specialTokens) continue;
      words.push(this.vocab[id] ?? this.#spec.unknown);
    }
    return words.join(" ");
  }

  #wordId(word: string): number | undefined {
    const id = this.#ids.get(word);
    return id === undefined || this.#specialIds.has(id) ? undefined : id;
  }
}
