/** The `tokenizer.json` and `tokenizer_config.json` of a word-level tokenizer, in the form of the `tokenizers` and `transformers` libraries. */
import { DataError } from "@refl/tensor";
import * as v from "valibot";
import { parseConfig } from "../formats/config.ts";
import { isJsonObject, type JsonObject } from "../formats/json.ts";

/** What the files say: the vocabulary in id order, the special tokens (all in the vocabulary) and the length limit. */
export interface WordTokenizerSpec {
  readonly vocab: readonly string[];
  readonly start: string;
  readonly end: string;
  readonly pad: string;
  readonly unknown: string;
  readonly maxLength: number;
}

const specialItem = v.looseObject({ SpecialToken: v.looseObject({ id: v.string() }) });
const sequenceItem = v.looseObject({ Sequence: v.looseObject({ id: v.literal("A") }) });
// valibot's record leaves out keys such as "constructor", which are words like any other.
const vocabulary = v.custom<JsonObject>(isJsonObject, "must be an object of word to id");

const tokenizerSchema = v.looseObject({
  normalizer: v.looseObject({ type: v.literal("Lowercase") }),
  pre_tokenizer: v.looseObject({ type: v.literal("BertPreTokenizer") }),
  post_processor: v.looseObject({
    type: v.literal("TemplateProcessing"),
    single: v.strictTuple([specialItem, sequenceItem, specialItem]),
  }),
  model: v.looseObject({ type: v.literal("WordLevel"), vocab: vocabulary, unk_token: v.string() }),
  padding: v.looseObject({ pad_token: v.string() }),
  truncation: v.looseObject({ max_length: v.pipe(v.number(), v.integer(), v.minValue(2), v.maxValue(1_000_000)) }),
});

function vocabInOrder(vocab: JsonObject, file: string): string[] {
  const entries = Object.entries(vocab);
  const words = new Array<string | undefined>(entries.length);
  for (const [word, id] of entries) {
    const field = `model.vocab.${word}`;
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= entries.length) {
      throw new DataError(file, 0, field, `${JSON.stringify(id)} is no id from 0 to ${entries.length - 1}`);
    }
    if (words[id] !== undefined)
      throw new DataError(file, 0, field, `has the id ${id} of ${JSON.stringify(words[id])}`);
    words[id] = word;
  }
  return words as string[];
}

/** @throws DataError naming file and field when the JSON is damaged or describes a tokenizer of another kind. */
export function parseTokenizerJson(value: unknown, file: string): WordTokenizerSpec {
  const json = parseConfig(tokenizerSchema, value, file);
  const [start, , end] = json.post_processor.single;
  return {
    vocab: vocabInOrder(json.model.vocab, file),
    start: start.SpecialToken.id,
    end: end.SpecialToken.id,
    pad: json.padding.pad_token,
    unknown: json.model.unk_token,
    maxLength: json.truncation.max_length,
  };
}

/** `tokenizer.json` as `tokenizers` 0.22 reads it; encoding there gives the ids and masks of `WordTokenizer.encode`. */
export function toTokenizerJson(spec: WordTokenizerSpec): JsonObject {
  const { vocab, start, end, pad, unknown, maxLength } = spec;
  const special = (id: string, type = 0) => ({ SpecialToken: { id, type_id: type } });
  const definition = (id: string) => ({ id, ids: [vocab.indexOf(id)], tokens: [id] });
  const added = [...new Set([pad, unknown, start, end])].map((content) => ({ content, id: vocab.indexOf(content) }));
  return {
    version: "1.0",
    truncation: { direction: "Right", max_length: maxLength, strategy: "LongestFirst", stride: 0 },
    padding: {
      strategy: { Fixed: maxLength },
      direction: "Right",
      pad_to_multiple_of: null,
      pad_id: vocab.indexOf(pad),
      pad_type_id: 0,
      pad_token: pad,
    },
    added_tokens: added
      .sort((a, b) => a.id - b.id)
      .map(({ content, id }) => ({
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      })),
    normalizer: { type: "Lowercase" },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: {
      type: "TemplateProcessing",
      single: [special(start), { Sequence: { id: "A", type_id: 0 } }, special(end)],
      pair: [
        special(start),
        { Sequence: { id: "A", type_id: 0 } },
        special(end),
        { Sequence: { id: "B", type_id: 1 } },
        special(end, 1),
      ],
      special_tokens: { [start]: definition(start), [end]: definition(end) },
    },
    decoder: null,
    model: { type: "WordLevel", vocab: Object.fromEntries(vocab.map((word, id) => [word, id])), unk_token: unknown },
  };
}

/** `tokenizer_config.json` as `transformers` reads it. */
export function toTokenizerConfigJson(spec: WordTokenizerSpec): JsonObject {
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    model_max_length: spec.maxLength,
    bos_token: spec.start,
    eos_token: spec.end,
    cls_token: spec.start,
    sep_token: spec.end,
    pad_token: spec.pad,
    unk_token: spec.unknown,
    clean_up_tokenization_spaces: false,
  };
}
