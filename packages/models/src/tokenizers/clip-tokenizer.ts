/** CLIP's tokenizer (Radford et al. 2021, arXiv 2103.00020): lower-case text, byte-level byte pairs, a start and an end token, 77 in all. */
import { DataError } from "@refl/tensor";
import type { ModelFolder, WritableModelFolder } from "../formats/folder.ts";
import { isJsonObject, type JsonObject } from "../formats/json.ts";
import { BYTE_SYMBOLS, BytePairs } from "./byte-pairs.ts";
import {
  gunzipText,
  maxLengthOf,
  mergesFromJson,
  mergesFromLines,
  readTextFile,
  readTokenizerConfigs,
  specialToken,
  type Vocabulary,
  vocabularyFromJson,
} from "./files.ts";
import { cleanText, type TextCleanup } from "./text-cleanup.ts";
import { type EncodeOptions, type Encoding, frame, type Tokenizer } from "./tokenizer.ts";

const START = "<|startoftext|>";
const END = "<|endoftext|>";
const WORD_END = "</w>";
/** The text encoder has this many positions. */
const CLIP_LENGTH = 77;
/** Merges of the packed list that OpenAI's vocabulary uses: 49,152 less the 512 byte tokens and two of its own making. */
const OPENAI_MERGES = 48_894;

/** Contractions, runs of letters, single digits, runs of anything else that is no white space. */
const PIECES = /'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}]+/gu;
/** As above where case is ignored: a long s folds to s, and the special tokens are words. */
const CASELESS_PIECES =
  /<\|startoftext\|>|<\|endoftext\|>|'[sſ]|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}]+/gu;

export interface CLIPTokenizerSpec {
  readonly vocab: Vocabulary;
  /** Pairs joined by one blank, the earliest first. */
  readonly merges: readonly string[];
  /** The token for padding: `<|endoftext|>` in Stable Diffusion 1 (default), `!` in 2; `null` pads with id 0 as the `clip` package does. */
  readonly pad?: string | null;
  /** What bytes without a token become. Default `<|endoftext|>`. */
  readonly unknown?: string;
  /** Default 77. */
  readonly maxLength?: number;
  /** Default `nfc`, as today's `transformers`. */
  readonly cleanup?: TextCleanup;
}

export class CLIPTokenizer implements Tokenizer {
  readonly className = "CLIPTokenizer";
  readonly vocab: Vocabulary;
  readonly vocabSize: number;
  readonly maxLength: number;
  readonly startId: number;
  readonly endId: number;
  readonly padId: number;
  readonly unknownId: number;
  readonly cleanup: TextCleanup;
  readonly #merges: readonly string[];
  readonly #pairs: BytePairs;
  readonly #unknown: string;
  readonly #pad: string | null;

  /** @throws DataError naming `file` when a special token is not in the vocabulary or `maxLength` is below 2. */
  constructor(spec: CLIPTokenizerSpec, file = "vocab.json") {
    const { vocab, merges, pad = END, unknown = END, maxLength = CLIP_LENGTH, cleanup = "nfc" } = spec;
    if (!Number.isInteger(maxLength) || maxLength < 2) {
      throw new DataError(file, 0, "model_max_length", `${maxLength} leaves no room for the start and end tokens`);
    }
    const idOf = (token: string): number => {
      const id = vocab.get(token);
      if (id === undefined) throw new DataError(file, 0, token, "is a special token and stands not in the vocabulary");
      return id;
    };
    this.vocab = vocab;
    this.vocabSize = 1 + [...vocab.values()].reduce((most, id) => Math.max(most, id), 0);
    this.maxLength = maxLength;
    this.startId = idOf(START);
    this.endId = idOf(END);
    this.padId = pad === null ? 0 : idOf(pad);
    this.unknownId = idOf(unknown);
    this.cleanup = cleanup;
    this.#merges = merges;
    this.#pairs = new BytePairs(merges, WORD_END);
    this.#unknown = unknown;
    this.#pad = pad;
  }

  /**
   * The tokenizer of the `clip` package from its `bpe_simple_vocab_16e6.txt.gz` (packed or unpacked): ids in the order 256 bytes, the same at a
   * word's end, 48,894 merges, start, end; padded with 0 and cleaned as that package does unless `options` say otherwise.
   * @throws CheckpointError for damaged gzip; DataError naming the line that is no pair, or when there are too few
   */
  static async fromMergeList(
    bytes: Uint8Array,
    file = "bpe_simple_vocab_16e6.txt.gz",
    options: Pick<CLIPTokenizerSpec, "pad" | "maxLength" | "cleanup"> = {},
  ): Promise<CLIPTokenizer> {
    const lines = (await gunzipText(bytes, file)).split("\n", OPENAI_MERGES + 1);
    const merges = mergesFromLines(lines.join("\n"), file);
    if (merges.length !== OPENAI_MERGES) {
      throw new DataError(file, 0, "", `has ${merges.length} merges, CLIP needs ${OPENAI_MERGES}`);
    }
    return new CLIPTokenizer({ vocab: clipVocabulary(merges), merges, pad: null, cleanup: "openai", ...options }, file);
  }

  /**
   * Reads `vocab.json` and `merges.txt`, or a `tokenizer.json` that has both, with the special tokens and the length of the configs beside them.
   * @throws CheckpointError for missing or unreadable files; DataError naming file and field
   */
  static async fromFolder(
    folder: ModelFolder,
    options: Pick<CLIPTokenizerSpec, "cleanup" | "maxLength"> = {},
  ): Promise<CLIPTokenizer> {
    const configs = await readTokenizerConfigs(folder);
    const model = await readModel(folder);
    const pad = specialToken(configs, "pad_token");
    const unknown = specialToken(configs, "unk_token");
    const spec = {
      ...model,
      ...(pad === undefined ? {} : { pad }),
      ...(unknown === undefined ? {} : { unknown }),
      maxLength: maxLengthOf(configs, CLIP_LENGTH),
      ...options,
    };
    return new CLIPTokenizer(spec, `${folder.name}/vocab.json`);
  }

  /** Writes `vocab.json`, `merges.txt`, `special_tokens_map.json` and `tokenizer_config.json`, which `transformers` opens. */
  async save(folder: WritableModelFolder, path = "tokenizer"): Promise<void> {
    const pad = this.#pad ?? [...this.vocab].find(([, id]) => id === 0)?.[0] ?? END;
    const special = { bos_token: START, eos_token: END, pad_token: pad, unk_token: this.#unknown };
    await folder.writeJson(`${path}/vocab.json`, Object.fromEntries(this.vocab));
    const merges = `#version: 0.2\n${this.#merges.join("\n")}\n`;
    await folder.write(`${path}/merges.txt`, new TextEncoder().encode(merges));
    await folder.writeJson(`${path}/special_tokens_map.json`, special);
    await folder.writeJson(`${path}/tokenizer_config.json`, {
      tokenizer_class: "CLIPTokenizer",
      model_max_length: this.maxLength,
      do_lower_case: true,
      ...special,
    });
  }

  /** start, byte pairs, end, padding. A text that spells `<|startoftext|>` or `<|endoftext|>` gets that token, as in the original. */
  encode(text: string, options: EncodeOptions = {}): Encoding {
    const { maxLength = this.maxLength, padding = "max_length" } = options;
    const tokens: number[] = [];
    const unknown: string[] = [];
    for (const part of text.split(/(<\|startoftext\|>|<\|endoftext\|>)/)) {
      if (part === START) tokens.push(this.startId);
      else if (part === END) tokens.push(this.endId);
      else this.#encodePlain(part, tokens, unknown);
    }
    const special = { start: this.startId, end: this.endId, pad: this.padId };
    return frame(tokens, unknown, special, maxLength, padding);
  }

  #encodePlain(text: string, tokens: number[], unknown: string[]): void {
    const pieces = this.cleanup === "nfc" ? PIECES : CASELESS_PIECES;
    for (const [word] of cleanText(text, this.cleanup).matchAll(pieces)) {
      if (word === START) tokens.push(this.startId);
      else if (word === END) tokens.push(this.endId);
      else {
        for (const piece of this.#pairs.split(word)) {
          const id = this.vocab.get(piece);
          if (id === undefined) unknown.push(word);
          tokens.push(id ?? this.unknownId);
        }
      }
    }
  }
}

/** CLIP's vocabulary as it follows from its merges. */
export function clipVocabulary(merges: readonly string[]): Vocabulary {
  // The byte tokens stand in the order printable ASCII, printable Latin-1, the rest.
  const symbols = [...BYTE_SYMBOLS].sort();
  const tokens = [
    ...symbols,
    ...symbols.map((symbol) => symbol + WORD_END),
    ...merges.map((pair) => pair.replace(" ", "")),
    START,
    END,
  ];
  return new Map(tokens.map((token, id) => [token, id]));
}

async function readModel(folder: ModelFolder): Promise<{ vocab: Vocabulary; merges: string[] }> {
  if ((await folder.exists("vocab.json")) && (await folder.exists("merges.txt"))) {
    return {
      vocab: vocabularyFromJson(await folder.readJson("vocab.json"), `${folder.name}/vocab.json`),
      merges: mergesFromLines(await readTextFile(folder, "merges.txt"), `${folder.name}/merges.txt`),
    };
  }
  const file = `${folder.name}/tokenizer.json`;
  const { model, added_tokens: added } = await folder.readJson("tokenizer.json");
  if (!isJsonObject(model) || model["type"] !== "BPE" || !isJsonObject(model["vocab"])) {
    throw new DataError(file, 0, "model", "is no byte-pair vocabulary");
  }
  if (model["end_of_word_suffix"] !== WORD_END) {
    throw new DataError(file, 0, "model.end_of_word_suffix", `must be ${JSON.stringify(WORD_END)}, as in CLIP`);
  }
  const vocab = new Map(vocabularyFromJson(model["vocab"] as JsonObject, file, "model.vocab"));
  for (const token of Array.isArray(added) ? added : []) {
    if (!isJsonObject(token)) continue;
    const { content, id } = token;
    if (typeof content === "string" && typeof id === "number") vocab.set(content, id);
  }
  return { vocab, merges: mergesFromJson(model["merges"], file, "model.merges") };
}
