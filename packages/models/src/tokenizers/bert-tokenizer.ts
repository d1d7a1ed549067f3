/** BERT's tokenizer: words, WordPiece, `[CLS]` before and `[SEP]` after; with BLIP's two further tokens for ImageReward. */
import { DataError } from "@refl/tensor";
import type { ModelFolder, WritableModelFolder } from "../formats/folder.ts";
import { isJsonObject, type JsonObject } from "../formats/json.ts";
import {
  maxLengthOf,
  readTextFile,
  readTokenizerConfigs,
  specialToken,
  type Vocabulary,
  vocabularyFromJson,
  vocabularyFromLines,
} from "./files.ts";
import { type EncodeOptions, type Encoding, frame, type Tokenizer } from "./tokenizer.ts";
import { type BasicTokenizerOptions, basicWords, wordPieces } from "./word-pieces.ts";

const ROLES = { start: "[CLS]", end: "[SEP]", pad: "[PAD]", unknown: "[UNK]", mask: "[MASK]" } as const;
/** What BLIP adds to BERT's vocabulary, in this order: ids 30522 and 30523. */
export const BLIP_TOKENS = ["[DEC]", "[ENC]"] as const;
/** BERT's positions. */
const BERT_LENGTH = 512;
/** Tokens that ImageReward and BLIP read of a prompt. */
export const IMAGE_REWARD_LENGTH = 35;

export interface BertTokenizerSpec {
  readonly vocab: Vocabulary;
  /** Tokens after the vocabulary's last, each with the next id, unless the vocabulary has them. Default none; BLIP's are {@link BLIP_TOKENS}. */
  readonly added?: readonly string[];
  /**
   * The first token: `[CLS]` (default) for ImageReward and for text features; `[ENC]` for BLIP's image-text matching, which replaces it.
   */
  readonly start?: string;
  readonly end?: string;
  readonly pad?: string;
  readonly unknown?: string;
  /** Default 512; ImageReward's is {@link IMAGE_REWARD_LENGTH}. */
  readonly maxLength?: number;
  readonly words?: BasicTokenizerOptions;
}

export class BertTokenizer implements Tokenizer {
  readonly className = "BertTokenizer";
  /** All tokens, the added ones included. */
  readonly vocab: Vocabulary;
  readonly vocabSize: number;
  readonly maxLength: number;
  readonly startId: number;
  readonly endId: number;
  readonly padId: number;
  readonly unknownId: number;
  readonly #special: ReadonlyMap<string, number>;
  readonly #specialSplit: RegExp;
  readonly #spec: BertTokenizerSpec;
  readonly #longest: number;

  /** @throws DataError naming `file` when a special token is not in the vocabulary or `maxLength` is below 2. */
  constructor(spec: BertTokenizerSpec, file = "vocab.txt") {
    const { added = [], start = ROLES.start, end = ROLES.end, pad = ROLES.pad, unknown = ROLES.unknown } = spec;
    const { maxLength = BERT_LENGTH } = spec;
    if (!Number.isInteger(maxLength) || maxLength < 2) {
      throw new DataError(file, 0, "model_max_length", `${maxLength} leaves no room for the start and end tokens`);
    }
    const vocab = new Map(spec.vocab);
    let size = 1 + [...vocab.values()].reduce((most, id) => Math.max(most, id), -1);
    for (const token of added) if (!vocab.has(token)) vocab.set(token, size++);
    const idOf = (token: string): number => {
      const id = vocab.get(token);
      if (id === undefined) throw new DataError(file, 0, token, "is a special token and stands not in the vocabulary");
      return id;
    };
    this.#spec = spec;
    this.vocab = vocab;
    this.vocabSize = size;
    this.maxLength = maxLength;
    this.startId = idOf(start);
    this.endId = idOf(end);
    this.padId = idOf(pad);
    this.unknownId = idOf(unknown);
    const special = new Set([...Object.values(ROLES), ...added, start, end, pad, unknown]);
    this.#special = new Map([...special].filter((token) => vocab.has(token)).map((token) => [token, idOf(token)]));
    const alternatives = [...this.#special.keys()].map((token) => token.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
    this.#specialSplit = new RegExp(`(${alternatives.join("|")})`);
    this.#longest = [...spec.vocab.keys()].reduce((most, token) => Math.max(most, token.length), 1);
  }

  /** The tokenizer of ImageReward and BLIP from BERT's `vocab.txt`: {@link BLIP_TOKENS} added, 35 tokens unless `options` say otherwise. */
  static forBlip(
    vocabText: string,
    file = "vocab.txt",
    options: Pick<BertTokenizerSpec, "start" | "maxLength"> = {},
  ): BertTokenizer {
    const vocab = vocabularyFromLines(vocabText, file);
    return new BertTokenizer({ vocab, added: BLIP_TOKENS, maxLength: IMAGE_REWARD_LENGTH, ...options }, file);
  }

  /**
   * Reads `vocab.txt`, or a `tokenizer.json` that has the vocabulary, with the special tokens and the length of the configs beside it.
   * @throws CheckpointError for missing or unreadable files; DataError naming file and field
   */
  static async fromFolder(
    folder: ModelFolder,
    options: Pick<BertTokenizerSpec, "added" | "start" | "maxLength"> = {},
  ): Promise<BertTokenizer> {
    const configs = await readTokenizerConfigs(folder);
    const { config } = configs;
    const roles: [keyof BertTokenizerSpec, string][] = [
      ["start", "cls_token"],
      ["end", "sep_token"],
      ["pad", "pad_token"],
      ["unknown", "unk_token"],
    ];
    const named = roles.flatMap(([field, role]) => {
      const token = specialToken(configs, role);
      return token === undefined ? [] : [[field, token] as const];
    });
    const flag = (field: string): boolean | undefined =>
      typeof config[field] === "boolean" ? (config[field] as boolean) : undefined;
    const lowercase = flag("do_lower_case");
    const stripAccents = flag("strip_accents");
    const ideographs = flag("tokenize_chinese_chars");
    const { vocab, added } = await readVocabulary(folder, configs.config);
    const spec: BertTokenizerSpec = {
      ...Object.fromEntries(named),
      vocab,
      added,
      maxLength: maxLengthOf(configs, BERT_LENGTH),
      words: {
        ...(lowercase === undefined ? {} : { lowercase }),
        ...(stripAccents === undefined ? {} : { stripAccents }),
        ...(ideographs === undefined ? {} : { ideographs }),
      },
      ...options,
    };
    return new BertTokenizer(spec, `${folder.name}/vocab.txt`);
  }

  /** Writes `vocab.txt`, the added tokens at its end, `special_tokens_map.json` and `tokenizer_config.json`, which `transformers` opens. */
  async save(folder: WritableModelFolder, path = "tokenizer"): Promise<void> {
    const lines = new Array<string>(this.vocabSize).fill("");
    for (const [token, id] of this.vocab) lines[id] = token;
    for (const [id, token] of lines.entries()) if (token === "") lines[id] = `[unused-id-${id}]`;
    const { start = ROLES.start, end = ROLES.end, pad = ROLES.pad, unknown = ROLES.unknown, added = [] } = this.#spec;
    const special: JsonObject = { cls_token: start, sep_token: end, pad_token: pad, unk_token: unknown };
    if (this.vocab.has(ROLES.mask)) special["mask_token"] = ROLES.mask;
    if (added.length > 0) special["additional_special_tokens"] = [...added];
    const { lowercase = true, stripAccents = null, ideographs = true } = this.#spec.words ?? {};
    await folder.write(`${path}/vocab.txt`, new TextEncoder().encode(`${lines.join("\n")}\n`));
    await folder.writeJson(`${path}/special_tokens_map.json`, special);
    await folder.writeJson(`${path}/tokenizer_config.json`, {
      tokenizer_class: "BertTokenizer",
      model_max_length: this.maxLength,
      do_lower_case: lowercase,
      strip_accents: stripAccents,
      tokenize_chinese_chars: ideographs,
      ...special,
    });
  }

  /** start, pieces, end, padding. A text that spells a special token (`[SEP]`, …) gets that token, as in the original. */
  encode(text: string, options: EncodeOptions = {}): Encoding {
    const { maxLength = this.maxLength, padding = "max_length" } = options;
    const tokens: number[] = [];
    const unknown: string[] = [];
    for (const part of text.split(this.#specialSplit)) {
      const special = this.#special.get(part);
      if (special !== undefined) tokens.push(special);
      else {
        for (const word of basicWords(part, this.#spec.words)) {
          const pieces = wordPieces(word, this.vocab, this.#longest);
          if (pieces) tokens.push(...pieces);
          else {
            unknown.push(word);
            tokens.push(this.unknownId);
          }
        }
      }
    }
    const special = { start: this.startId, end: this.endId, pad: this.padId };
    return frame(tokens, unknown, special, maxLength, padding);
  }
}

async function readVocabulary(
  folder: ModelFolder,
  config: JsonObject,
): Promise<{ vocab: Vocabulary; added: readonly string[] }> {
  const listed = config["additional_special_tokens"] ?? config["extra_special_tokens"];
  const added = (Array.isArray(listed) ? listed : []).flatMap((token) => {
    const content = isJsonObject(token) ? token["content"] : token;
    return typeof content === "string" ? [content] : [];
  });
  if (await folder.exists("vocab.txt")) {
    const vocab = vocabularyFromLines(await readTextFile(folder, "vocab.txt"), `${folder.name}/vocab.txt`);
    return { vocab, added };
  }
  const file = `${folder.name}/tokenizer.json`;
  const { model } = await folder.readJson("tokenizer.json");
  if (!isJsonObject(model) || model["type"] !== "WordPiece" || !isJsonObject(model["vocab"])) {
    throw new DataError(file, 0, "model", "is no WordPiece vocabulary");
  }
  return { vocab: vocabularyFromJson(model["vocab"] as JsonObject, file, "model.vocab"), added };
}
