/** CLIP's and BERT's tokenizers in folders: what they write comes back, other layouts, limits, warnings, and files that do not fit. */
import {
  BertTokenizer,
  BLIP_TOKENS,
  CLIPTokenizer,
  clipVocabulary,
  loadTokenizer,
  memoryFolder,
  truncationWarning,
  WordTokenizer,
} from "@refl/models";
import { CheckpointError, DataError } from "@refl/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const MERGES = ["t h", "th e</w>", "c a", "ca t</w>"];
const PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "un", "##able", ","];
const clip = new CLIPTokenizer({ vocab: clipVocabulary(MERGES), merges: MERGES, maxLength: 12 });
const bert = new BertTokenizer({
  vocab: new Map(PIECES.map((piece, id) => [piece, id])),
  added: BLIP_TOKENS,
  maxLength: 9,
});
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const files = (entries: Record<string, string>) =>
  memoryFolder(new Map(Object.entries(entries).map(([path, text]) => [path, utf8(text)])));

const text = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 40 }),
  fc.string({ unit: "binary", maxLength: 40 }),
  fc
    .array(fc.constantFrom("the", "cat", "Cats", "[SEP]", "<|endoftext|>", " ", ",", "犬", "é"), { maxLength: 20 })
    .map((w) => w.join("")),
);

describe("folders", () => {
  it("bring back what was saved", async () => {
    for (const tokenizer of [clip, bert]) {
      const folder = memoryFolder();
      await tokenizer.save(folder);
      const back = await loadTokenizer(folder);
      expect(back.className).toBe(tokenizer.className);
      expect([back.vocabSize, back.padId, back.maxLength]).toEqual([
        tokenizer.vocabSize,
        tokenizer.padId,
        tokenizer.maxLength,
      ]);
      fc.assert(
        fc.property(text, (t) => {
          expect(back.encode(t)).toEqual(tokenizer.encode(t));
        }),
      );
      expect((await loadTokenizer(folder, { maxLength: 5 })).encode("the cat").ids.length).toBe(5);
    }
    const words = memoryFolder();
    await WordTokenizer.fromWords(["a"], { maxLength: 4 }).save(words);
    expect(await loadTokenizer(words)).toBeInstanceOf(WordTokenizer);
  });

  it("open a tokenizer.json alone", async () => {
    const vocab = Object.fromEntries(clip.vocab);
    const bpe = { type: "BPE", vocab, merges: MERGES.map((m) => m.split(" ")), end_of_word_suffix: "</w>" };
    const added = [{ id: 2000, content: "<new>" }];
    const folder = files({ "t/tokenizer.json": JSON.stringify({ model: bpe, added_tokens: added }) });
    const back = await loadTokenizer(folder, { path: "t", maxLength: 12 });
    expect(back.encode("the cat!")).toEqual(clip.encode("the cat!"));
    expect(back.vocabSize).toBe(2001);
    const pieces = { type: "WordPiece", vocab: Object.fromEntries(PIECES.map((piece, id) => [piece, id])) };
    const wordPiece = await loadTokenizer(files({ "tokenizer.json": JSON.stringify({ model: pieces }) }), { path: "" });
    expect([...wordPiece.encode("Unable cats", { padding: "none" }).ids]).toEqual([2, 8, 9, 6, 7, 3]);
  });

  it("take the padding and the case from the configs", async () => {
    const base = {
      "tokenizer/vocab.json": JSON.stringify(Object.fromEntries(clip.vocab)),
      "tokenizer/merges.txt": `#version: 0.2\n${MERGES.join("\n")}`,
    };
    const special = { pad_token: { content: "!", lstrip: false }, bos_token: "<|startoftext|>" };
    const two = await loadTokenizer(files({ ...base, "tokenizer/special_tokens_map.json": JSON.stringify(special) }));
    expect([two.padId, two.maxLength, two.encode("").ids[5]]).toEqual([0, 77, 0]);
    const huge = { model_max_length: 1e30, pad_token: "<|endoftext|>", tokenizer_class: "CLIPTokenizer" };
    const one = await loadTokenizer(files({ ...base, "tokenizer/tokenizer_config.json": JSON.stringify(huge) }));
    expect([one.padId, one.maxLength]).toEqual([clip.endId, 77]);
    const cased = { do_lower_case: false, tokenize_chinese_chars: false };
    const vocabulary = `${PIECES.join("\r\n")}\r\nThe\r\ncafé\r\n`;
    const strict = await loadTokenizer(
      files({ "tokenizer/vocab.txt": vocabulary, "tokenizer/tokenizer_config.json": JSON.stringify(cased) }),
    );
    expect([...strict.encode("The café", { padding: "none" }).ids]).toEqual([2, 11, 12, 3]);
  });

  it.each<[string, Record<string, string>, string]>([
    ["another class", { "tokenizer/tokenizer_config.json": '{"tokenizer_class": "T5Tokenizer"}' }, "tokenizer_class"],
    ["a token twice", { "tokenizer/vocab.txt": "[PAD]\na\na\n" }, ""],
    ["no special tokens", { "tokenizer/vocab.txt": "a\nb\n" }, "[CLS]"],
    ["no merge", { "tokenizer/vocab.json": '{"a": 0}', "tokenizer/merges.txt": "a b c\n" }, ""],
    ["no id", { "tokenizer/vocab.json": '{"a": "0"}', "tokenizer/merges.txt": "" }, "a"],
    ["an id twice", { "tokenizer/vocab.json": '{"a": 0, "b": 0}', "tokenizer/merges.txt": "" }, "b"],
    [
      "other byte pairs",
      { "tokenizer/tokenizer.json": '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}' },
      "model.end_of_word_suffix",
    ],
  ])("refuse %s", async (_, content, field) => {
    const failure = loadTokenizer(files(content));
    await expect(failure).rejects.toThrow(DataError);
    await expect(failure).rejects.toThrow(expect.objectContaining({ field }));
  });

  it("refuse a missing or damaged file", async () => {
    await expect(loadTokenizer(memoryFolder())).rejects.toThrow(CheckpointError);
    const broken = memoryFolder(new Map([["tokenizer/vocab.txt", Uint8Array.of(0xff, 0xfe)]]));
    await expect(loadTokenizer(broken)).rejects.toThrow(/not valid UTF-8/);
    await expect(CLIPTokenizer.fromMergeList(Uint8Array.of(0x1f, 0x8b, 1, 2), "v.gz")).rejects.toThrow(CheckpointError);
    await expect(CLIPTokenizer.fromMergeList(utf8("#version\na b\n"), "v.txt")).rejects.toThrow(/has 1 merges/);
  });
});

describe("encoding", () => {
  it("keeps its frame for every text and limit", () => {
    fc.assert(
      fc.property(text, fc.integer({ min: 2, max: 14 }), (t, maxLength) => {
        for (const tokenizer of [clip, bert]) {
          const { ids, mask, truncated, length } = tokenizer.encode(t, { maxLength });
          const used = mask.reduce((sum, one) => sum + one, 0);
          expect(ids.length).toBe(maxLength);
          expect(ids[0]).toBe(tokenizer.startId);
          expect(ids[used - 1]).toBe(tokenizer.endId);
          expect(truncated).toBe(length > maxLength);
          expect(used).toBe(Math.min(length, maxLength));
          expect(ids.every((id) => id >= 0 && id < tokenizer.vocabSize)).toBe(true);
        }
      }),
    );
  });

  it("tells unknown words and cut prompts", () => {
    expect(bert.encode("the dog, the unables dog").unknown).toEqual(["dog"]);
    expect(truncationWarning(bert, ["the cat"])).toBeUndefined();
    expect(truncationWarning(bert, ["the cat", `${"cat ".repeat(30)}`])).toBe(
      `1 of 2 prompts are longer than the 9 tokens that the model reads; the rest is ignored. The first is "${"cat ".repeat(15)}…" with 32 tokens`,
    );
    expect(truncationWarning(clip, ["the cat"], 3)).toMatch(/3 tokens that the model reads/);
    expect(() => bert.encode("a", { maxLength: 1 })).toThrow(DataError);
  });

  it("starts with [ENC] where matching asks for it", () => {
    const matching = new BertTokenizer({
      vocab: new Map(PIECES.map((piece, id) => [piece, id])),
      added: BLIP_TOKENS,
      start: "[ENC]",
      maxLength: 5,
    });
    expect([...matching.encode("cat").ids]).toEqual([12, 6, 3, 0, 0]);
    expect([bert.startId, bert.vocabSize]).toEqual([2, 13]);
  });

  it("splits a word of a million letters in a moment", () => {
    const { length } = clip.encode("a".repeat(1_000_000), { padding: "none" });
    expect(length).toBe(1_000_002);
    expect(clip.encode("caca".repeat(100_000)).length).toBe(200_003);
    expect(bert.encode("x".repeat(1_000_000)).unknown.length).toBe(1);
  });
});
