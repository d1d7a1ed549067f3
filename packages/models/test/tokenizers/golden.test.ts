/** CLIP's and BERT's tokenizers against the ids of the reference tokenizers (`reference/`): on hand-made texts, and by hash on real prompts. */
import { readFileSync } from "node:fs";
import {
  BertTokenizer,
  CLIPTokenizer,
  clipVocabulary,
  loadTokenizer,
  memoryFolder,
  type Tokenizer,
} from "@refl/models";
import { describe, expect, it, type TestContext } from "vitest";
import { sharedData, sharedText } from "../shared-data.ts";

type Row = { text: string } & Record<Kind, number[]>;
type Kind = "clip_nfc" | "clip_ftfy" | "clip_openai" | "bert_35" | "bert_whole" | "bert_today";

interface Golden {
  merges: string[];
  pieces: string[];
  block: number;
  small: Row[];
  hashes: Record<string, { count: number } & Record<Kind, string[]>>;
}

const golden: Golden = JSON.parse(readFileSync(new URL("../golden/tokenizers.json", import.meta.url), "utf8"));

/** FNV-1a over ids as 32-bit little-endian words. */
function fnv(rows: readonly Int32Array[]): string {
  let hash = 0x811c9dc5;
  for (const row of rows) {
    for (const byte of new Uint8Array(row.slice().buffer)) hash = Math.imul(hash ^ byte, 0x01000193);
  }
  return (hash >>> 0).toString(16).padStart(8, "0");
}

const merges = golden.merges;
const clip = (cleanup: "nfc" | "ftfy" | "openai") =>
  new CLIPTokenizer({ vocab: clipVocabulary(merges), merges, cleanup, ...(cleanup === "openai" ? { pad: null } : {}) });
const vocabText = `${["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ...golden.pieces].join("\n")}\n`;

const whole = { padding: "none", maxLength: 1_000_000 } as const;

function expectSmall(tokenizer: Tokenizer, kind: Kind, padded: boolean): void {
  for (const row of golden.small) {
    const { ids } = tokenizer.encode(row.text, padded ? {} : whole);
    const expected = [...row[kind]];
    if (padded) while (expected.length < tokenizer.maxLength) expected.push(expected.at(-1) as number);
    expect([...ids], JSON.stringify(row.text)).toEqual(expected);
  }
}

describe("hand-made texts", () => {
  it.each(["nfc", "ftfy", "openai"] as const)("have CLIP's ids, cleaned as %s", (cleanup) => {
    expectSmall(clip(cleanup), `clip_${cleanup}`, true);
  });

  it("have BERT's ids", () => {
    const tokenizer = BertTokenizer.forBlip(vocabText);
    expectSmall(tokenizer, "bert_35", true);
    expectSmall(tokenizer, "bert_whole", false);
  });

  it("have the ids of today's BERT, which knows no [DEC] and [ENC]", async () => {
    const files = new Map([["tokenizer/vocab.txt", new TextEncoder().encode(vocabText)]]);
    expectSmall(await loadTokenizer(memoryFolder(files)), "bert_today", false);
  });
});

const PROMPTS: Record<string, (context: TestContext) => string[]> = {
  "refl_data.json": (context) =>
    (JSON.parse(sharedText(context, "imagereward/refl_data.json")) as { text: string }[]).map(({ text }) => text),
  "test.json": (context) =>
    (JSON.parse(sharedText(context, "imagereward/test.json")) as { prompt: string }[]).map(({ prompt }) => prompt),
  "PartiPrompts.tsv": (context) =>
    sharedText(context, "prompts/PartiPrompts.tsv")
      .split(/\r?\n/)
      .slice(1)
      .filter((line) => line !== "")
      .map((line) => line.split("\t")[0] as string),
};

async function realTokenizers(context: TestContext): Promise<[Kind, Tokenizer, object][]> {
  const file = (path: string) => sharedData(context, path);
  const folder = memoryFolder(
    new Map([
      ["tokenizer/vocab.json", file("clip/vocab.json")],
      ["tokenizer/merges.txt", file("clip/merges.txt")],
    ]),
  );
  const bertFolder = memoryFolder(new Map([["tokenizer/vocab.txt", file("bert/vocab.txt")]]));
  const blip = BertTokenizer.forBlip(sharedText(context, "bert/vocab.txt"));
  return [
    ["clip_nfc", await loadTokenizer(folder), {}],
    ["clip_ftfy", await loadTokenizer(folder, { cleanup: "ftfy" }), {}],
    ["clip_openai", await CLIPTokenizer.fromMergeList(file("clip/bpe_simple_vocab_16e6.txt.gz")), {}],
    ["bert_35", blip, {}],
    ["bert_whole", blip, whole],
    ["bert_today", await loadTokenizer(bertFolder), whole],
  ];
}

describe("real prompts", () => {
  for (const [name, read] of Object.entries(PROMPTS)) {
    it(`of ${name} have the reference tokenizers' ids`, async (context) => {
      const texts = read(context);
      const expected = golden.hashes[name]!;
      expect(texts.length).toBe(expected.count);
      for (const [kind, tokenizer, options] of await realTokenizers(context)) {
        const found: string[] = [];
        for (let i = 0; i < texts.length; i += golden.block) {
          found.push(fnv(texts.slice(i, i + golden.block).map((text) => tokenizer.encode(text, options).ids)));
        }
        expect(found, kind).toEqual(expected[kind]);
      }
    }, 600_000);
  }

  it("of the README have the published ids", async (context) => {
    const text = "a painting of an ocean with clouds and birds, day time, low depth field effect";
    const nasty = "8k, Octane render — ünï 'it's";
    const [, , [, clip]] = (await realTokenizers(context)) as [unknown, unknown, [Kind, Tokenizer]];
    const blip = BertTokenizer.forBlip(sharedText(context, "bert/vocab.txt"));
    const inner = (tokenizer: Tokenizer, of: string) => [...tokenizer.encode(of, whole).ids].slice(1, -1);
    expect(inner(clip, text)).toEqual([
      320, 3086, 539, 550, 4918, 593, 6244, 537, 4337, 267, 575, 788, 267, 1042, 10350, 1570, 5436,
    ]);
    expect(inner(clip, nasty)).toEqual([279, 330, 267, 43040, 13024, 2005, 6522, 77, 127, 363, 262, 585, 568]);
    expect(blip.encode(text).ids.slice(0, 20)).toEqual(
      Int32Array.of(
        101,
        1037,
        4169,
        1997,
        2019,
        4153,
        2007,
        8044,
        1998,
        5055,
        1010,
        2154,
        2051,
        1010,
        2659,
        5995,
        2492,
        3466,
        102,
        0,
      ),
    );
    expect(inner(blip, nasty)).toEqual([
      1022, 2243, 1010, 13323, 7231, 17552, 1517, 4895, 2072, 1005, 2009, 1005, 1055,
    ]);
    expect([blip.vocabSize, blip.vocab.get("[DEC]"), blip.vocab.get("[ENC]")]).toEqual([30524, 30522, 30523]);
  });
});
