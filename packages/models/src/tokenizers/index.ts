/** Tokenizers. */
export { BertTokenizer, type BertTokenizerSpec, BLIP_TOKENS, IMAGE_REWARD_LENGTH } from "./bert-tokenizer.ts";
export { CLIPTokenizer, type CLIPTokenizerSpec, clipVocabulary } from "./clip-tokenizer.ts";
export { readTextFile, type Vocabulary } from "./files.ts";
export { type LoadTokenizerOptions, loadTokenizer } from "./load-tokenizer.ts";
export type { TextCleanup } from "./text-cleanup.ts";
export { type EncodeOptions, type Encoding, type Tokenizer, truncationWarning } from "./tokenizer.ts";
export type { BasicTokenizerOptions } from "./word-pieces.ts";
export { splitWords, WordTokenizer, type WordTokenizerOptions } from "./word-tokenizer.ts";
export type { WordTokenizerSpec } from "./word-tokenizer-json.ts";
