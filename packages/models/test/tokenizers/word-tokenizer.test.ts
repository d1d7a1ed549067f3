/** The word tokenizer: what it encodes, that another library encodes the same from its files, and files that do not fit. */
import { Tokenizer } from "@huggingface/tokenizers";
import { type JsonObject, memoryFolder, splitWords, WordTokenizer } from "@refl/models";
import { DataError } from "@refl/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const WORDS = ["a", "red", "circle", "on", "blue", "grass", ",", ".", "constructor", "fern"];
const tokenizer = WordTokenizer.fromWords(WORDS, { maxLength: 8 });

const wordArbitrary = fc.constantFrom(...WORDS, "Red", "CIRCLE", "kitty", "café", "naïve", "犬", "don't");
const textArbitrary = fc
  .array(fc.tuple(wordArbitrary, fc.constantFrom(" ", "  ", "\t", "\n", ", ", ".", "-", "\u00a0", "$")), {
    maxLength: 9,
  })
  .map((parts) => parts.flat().join(""));

describe("WordTokenizer", () => {
  it("frames, pads and masks", () => {
    const { ids, mask, unknown, truncated } = tokenizer.encode("A red  Circle, on grass");
    expect([...ids]).toEqual([2, 4, 5, 6, 10, 7, 9, 3]);
    expect([...mask]).toEqual([1, 1, 1, 1, 1, 1, 1, 1]);
    expect({ unknown, truncated }).toEqual({ unknown: [], truncated: false });
    const short = tokenizer.encode("blue");
    expect([...short.ids]).toEqual([2, 8, 3, 0, 0, 0, 0, 0]);
    expect([...short.mask]).toEqual([1, 1, 1, 0, 0, 0, 0, 0]);
    expect([...tokenizer.encode("", { padding: "none" }).ids]).toEqual([2, 3]);
    expect(tokenizer.decode(short.ids)).toBe("blue");
    expect(tokenizer.decode([2, 8, 1], { specialTokens: true })).toBe("[CLS] blue [UNK]");
  });

  it("lists unknown words once, also those cut off, and keeps the end token", () => {
    const { ids, unknown, truncated } = tokenizer.encode("kitty Kitty on a red grass with blue fern");
    expect([...ids]).toEqual([2, 1, 1, 7, 4, 5, 9, 3]);
    expect(unknown).toEqual(["kitty", "with"]);
    expect(truncated).toBe(true);
  });

  it("lets no text spell a special token", () => {
    const own = new WordTokenizer({
      vocab: ["p", "u", "s", "e", "a"],
      pad: "p",
      unknown: "u",
      start: "s",
      end: "e",
      maxLength: 6,
    });
    expect([...own.encode("a p e").ids]).toEqual([2, 4, 1, 1, 3, 0]);
    expect(own.encode("a p e").unknown).toEqual(["p", "e"]);
    expect(tokenizer.encode("[PAD]").unknown).toEqual(["[", "pad", "]"]);
  });

  it("always gives the asked length and valid ids", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.integer({ min: 2, max: 20 }), (text, maxLength) => {
        const { ids, mask, truncated } = tokenizer.encode(text, { maxLength });
        expect(ids.length).toBe(maxLength);
        expect(truncated).toBe(splitWords(text).length > maxLength - 2);
        for (const [i, id] of ids.entries()) {
          expect(id >= 0 && id < tokenizer.vocabSize).toBe(true);
          expect(mask[i]).toBe(id === tokenizer.padId ? 0 : 1);
        }
      }),
    );
  });

  it("encodes as @huggingface/tokenizers does from its files", () => {
    const other = new Tokenizer(tokenizer.toJson(), tokenizer.toConfigJson());
    fc.assert(
      fc.property(textArbitrary, (text) => {
        const { ids } = tokenizer.encode(text, { maxLength: 64, padding: "none" });
        expect([...ids]).toEqual(other.encode(text).ids);
      }),
    );
  });

  it("comes back from its folder", async () => {
    const folder = memoryFolder();
    await tokenizer.save(folder);
    expect(await folder.list()).toEqual(["tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"]);
    const back = await WordTokenizer.fromFolder(folder);
    expect(back.vocab).toEqual(tokenizer.vocab);
    expect(back.maxLength).toBe(8);
    expect(back.idOf("constructor")).toBe(12);
    expect(back.encode("a red constructor")).toEqual(tokenizer.encode("a red constructor"));
  });

  const changed = (change: (json: Record<string, JsonObject>) => void): unknown => {
    const json = structuredClone(tokenizer.toJson()) as Record<string, JsonObject>;
    change(json);
    return json;
  };
  it.each<[string, unknown, string]>([
    ["another model", changed((json) => (json["model"]!["type"] = "BPE")), "model.type"],
    ["another splitting", changed((json) => (json["pre_tokenizer"]!["type"] = "Whitespace")), "pre_tokenizer.type"],
    ["a hole in the ids", changed((json) => ((json["model"]!["vocab"] as JsonObject)["red"] = 99)), "model.vocab.red"],
    ["an id twice", changed((json) => ((json["model"]!["vocab"] as JsonObject)["red"] = 4)), "model.vocab.red"],
    ["an unknown special token", changed((json) => (json["padding"]!["pad_token"] = "[X]")), "model.vocab"],
    ["no room", changed((json) => (json["truncation"]!["max_length"] = 1)), "truncation.max_length"],
    ["no object", [], ""],
  ])("refuses %s", (_, json, field) => {
    const open = () => WordTokenizer.fromJson(json, "tokenizer/tokenizer.json");
    expect(open).toThrow(DataError);
    expect(open).toThrow(expect.objectContaining({ file: "tokenizer/tokenizer.json", field }));
  });

  it("refuses words that no text could meet", () => {
    expect(() => WordTokenizer.fromWords(["Red"], { maxLength: 4 })).toThrow(/Red: is not one lower-case word/);
    expect(() => WordTokenizer.fromWords(["two words"], { maxLength: 4 })).toThrow(DataError);
    expect(() => WordTokenizer.fromWords(["a", "a"], { maxLength: 4 })).toThrow(/"a" stands twice/);
    expect(() => tokenizer.encode("a", { maxLength: 1 })).toThrow(DataError);
  });
});
