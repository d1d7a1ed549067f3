/** Tokenizers. */
export type { EncodeOptions, Encoding, Tokenizer } from "./tokenizer.ts";
export { splitWords, WordTokenizer, type WordTokenizerOptions } from "./word-tokenizer.ts";
export type { WordTokenizerSpec } from "./word-tokenizer-json.ts";
