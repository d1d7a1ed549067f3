/** All scorers from pixels to scores and ranks, against ImageReward's, BLIP's and CLIP's own code (`reference/`); what they load, keep and refuse. */
import { readFileSync } from "node:fs";
import { backward, gradOf, requireGrad } from "@refl/autograd";
import {
  AestheticPredictor,
  BlipPretrainingModel,
  bytesSource,
  CLIPModel,
  CLIPVisionModelWithProjection,
  clipVocabulary,
  entryToFloat32,
  fillSeeded,
  type Module,
  memoryFolder,
  openCheckpoint,
  type PillowImage,
  type PillowMode,
  pillowChannels,
  saveModel,
  WordTokenizer,
  type WritableModelFolder,
  writeSafetensors,
} from "@refl/models";
import { CheckpointError, DataError, type Device, ShapeError, scope, tensor } from "@refl/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { sharedData } from "../../../models/test/shared-data.ts";
import { testDevice } from "../../../tensor/test/device.ts";
import { AestheticScorer } from "../../src/scorers/aesthetic.ts";
import { type BlipHead, BlipScorer } from "../../src/scorers/blip.ts";
import { CLIP_MEAN, CLIP_STD, ClipScorer } from "../../src/scorers/clip.ts";
import { EncodedPictures, scorePairs } from "../../src/scorers/encoded-pictures.ts";
import { ImageReward } from "../../src/scorers/image-reward.ts";
import { type PictureScorer, squareOf, strictRanks } from "../../src/scorers/scorer.ts";

type Matrix = number[][];
const GOLDEN = new URL("../golden/", import.meta.url);
const golden: {
  prompts: string[];
  pictures: [PillowMode, [number, number]][];
  merges: string[];
  vocabulary: string[];
  imagereward: { scores: Matrix; ranks: Matrix };
  clip: { model: Record<string, unknown>; scores: Matrix };
  aesthetic: { widths: number[]; scores: Matrix };
  blip: { model: Record<string, unknown>; itc: Matrix; itm: Matrix };
} = JSON.parse(readFileSync(new URL("scores.json", GOLDEN), "utf8"));
const { prompts } = golden;

/** Byte i is the top of the hash of i, as in `reference/golden/preprocess.py`. */
function noise(count: number): Uint8Array {
  return Uint8Array.from({ length: count }, (_, i) => {
    let x = Math.imul(i, 0x9e3779b9) >>> 0;
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d) >>> 0;
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b) >>> 0;
    return x >>> 24;
  });
}

const pictures: PillowImage[] = golden.pictures.map(([mode, [width, height]]) => {
  if (mode !== "P") return { mode, width, height, data: noise(width * height * pillowChannels(mode)) };
  const palette = noise(768);
  const data = Uint8Array.from([...noise(width * height)].flatMap((i) => [...palette.subarray(i * 3, i * 3 + 3)]));
  return { mode, width, height, data };
});

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const vocabulary = text(`${golden.vocabulary.join("\n")}\n`);

/** A folder with ImageReward.pt and the vocabulary. */
function rewardFolder(files: Record<string, Uint8Array> = {}): WritableModelFolder {
  const released = new Uint8Array(readFileSync(new URL("ImageReward.pt", GOLDEN)));
  const all = { "ImageReward.pt": released, "vocab.txt": vocabulary, ...files };
  return memoryFolder(new Map(Object.entries(all)), "released");
}

/** What the released med_config.json says, with the golden model's sizes. */
const med = golden.blip.model["text"] as Record<string, number>;
const medConfig = text(JSON.stringify(med));

async function fileOf(model: Module<never[], unknown>, prefix = ""): Promise<Uint8Array> {
  const entries = await model.entries();
  return writeSafetensors(
    entries.map((entry) => ({ ...entry, name: prefix + entry.name })),
    {},
    "test",
  );
}

async function clipFolder(): Promise<WritableModelFolder> {
  const folder = memoryFolder(new Map(), "clip");
  using model = fillSeeded(new CLIPModel(golden.clip.model), device);
  await saveModel(model, folder);
  await folder.writeJson("vocab.json", Object.fromEntries(clipVocabulary(golden.merges)));
  await folder.write("merges.txt", text(`#version: 0.2\n${golden.merges.join("\n")}\n`));
  const special = { bos_token: "<|startoftext|>", eos_token: "<|endoftext|>", unk_token: "<|endoftext|>" };
  await folder.writeJson("tokenizer_config.json", {
    tokenizer_class: "CLIPTokenizer",
    model_max_length: 77,
    ...special,
  });
  return folder;
}

async function headFolder(): Promise<WritableModelFolder> {
  const head = new AestheticPredictor({ embedding_dim: 24, widths: golden.aesthetic.widths });
  fillSeeded(head, device);
  const folder = memoryFolder(new Map([["head.pth", await fileOf(head)]]), "head");
  head.dispose();
  return folder;
}

async function blipFolder(): Promise<WritableModelFolder> {
  using model = fillSeeded(new BlipPretrainingModel(golden.blip.model), device);
  const entries = await model.entries();
  // What the released file has beside the model.
  const rest = ["visual_encoder_m.cls_token", "image_queue", "text_decoder.bert.x"].map((name) => ({
    ...entries.at(-1)!,
    name,
  }));
  const bytes = writeSafetensors([...entries, ...rest], {}, "test");
  return memoryFolder(
    new Map([
      ["model.pth", bytes],
      ["vocab.txt", vocabulary],
      ["med_config.json", medConfig],
    ]),
    "blip",
  );
}

/** Scores of every picture with every prompt. */
async function scoresOf(scorer: PictureScorer, asked: readonly string[], batchSize: number): Promise<Matrix> {
  const kept = new EncodedPictures(scorer);
  const encoded = await kept.encode(pictures);
  const pairs = pictures.flatMap((_, row) => asked.map((prompt) => ({ row, prompt })));
  const scores = await scorePairs(scorer, encoded, pairs, batchSize);
  encoded.dispose();
  kept.dispose();
  return pictures.map((_, row) => scores.slice(row * asked.length, (row + 1) * asked.length));
}

function expectClose(found: Matrix, expected: Matrix): void {
  const largest = Math.max(...expected.flat().map(Math.abs));
  for (const [i, row] of expected.entries())
    for (const [j, score] of row.entries())
      expect(Math.abs(found[i]![j]! - score) / largest, `picture ${i}, prompt ${j}`).toBeLessThan(1e-5);
}

/** Checks a scorer in batches of 2 and of all, and that nothing of it stays in memory. */
async function expectScores(load: () => Promise<PictureScorer>, expected: Matrix): Promise<void> {
  const before = device.memory().inUse;
  const scorer = await load();
  const asked = scorer.tokenizer ? prompts : [""];
  expectClose(await scoresOf(scorer, asked, 100), expected);
  expectClose(await scoresOf(scorer, asked, 2), expected);
  scorer.dispose();
  expect(device.memory().inUse).toBe(before);
}

describe("scorers against the reference", () => {
  it("ImageReward, from a file of torch.save", async () => {
    await expectScores(
      () => ImageReward.load(rewardFolder({ "med_config.json": medConfig }), device),
      golden.imagereward.scores,
    );
  });

  it("CLIP", async () => {
    const folder = await clipFolder();
    await expectScores(() => ClipScorer.load(folder, device), golden.clip.scores);
  });

  it("aesthetic", async () => {
    const [clip, folder] = [await clipFolder(), await headFolder()];
    const load = () => AestheticScorer.load(clip, { folder, file: "head.pth" }, device);
    await expectScores(load, golden.aesthetic.scores);
    await expect(AestheticScorer.load(clip, { folder, file: null }, device)).rejects.toThrow(/head: is a folder/);
  });

  it("CLIP and aesthetic, from OpenAI's own file", async () => {
    const models = new URL("../../../models/test/golden/", import.meta.url);
    const bytes = (name: string) => new Uint8Array(readFileSync(new URL(name, models)));
    const place = { folder: memoryFolder(new Map([["ViT.pt", bytes("openai_clip.pt")]]), "openai"), file: "ViT.pt" };
    const file = await openCheckpoint(bytesSource(bytes("openai_clip.safetensors"), "golden"));
    const [pixels, expected] = [
      entryToFloat32(await file.read("input.pixels")),
      entryToFloat32(await file.read("output.image_features")),
    ];
    const rgb = pixels.map((x, i) => x * CLIP_STD[Math.floor(i / 144) % 3]! + CLIP_MEAN[Math.floor(i / 144) % 3]!);
    const tokenizer = WordTokenizer.fromWords(["cat"], { maxLength: 10 });
    const scorers = [
      await ClipScorer.load(place, device, { tokenizer }),
      await AestheticScorer.load(place, { folder: await headFolder(), file: "head.pth" }, device),
    ];
    for (const scorer of scorers) {
      expect(scorer.imageSize).toBe(12);
      using pictures = tensor(device, rgb, [2, 3, 12, 12]);
      using features = scope(() => scorer.encodeImages(pictures));
      expectClose([[...((await features.data()) as Float32Array)]], [[...expected]]);
      using scores = scope(() => scorer.scoreEncoded(features, ["cat", "cat"]));
      expect((await scores.data()).every(Number.isFinite)).toBe(true);
      scorer.dispose();
    }
    await expect(ClipScorer.load(place, device)).rejects.toThrow(
      /tokenizer is missing: openai has neither vocab\.json/,
    );
  });

  it.each(["itc", "itm"] as const)("BLIP, %s, from a file with the state of its training", async (head: BlipHead) => {
    const folder = await blipFolder();
    await expectScores(() => BlipScorer.load({ folder, file: "model.pth" }, device, { head }), golden.blip[head]);
  });
});

describe("ImageReward as the original's API", () => {
  it("scores one picture and many, and ranks them", async () => {
    using scorer = await ImageReward.load(rewardFolder({ "med_config.json": medConfig }), device);
    for (const [p, prompt] of prompts.entries()) {
      const expected = golden.imagereward.scores.map((row) => row[p]!);
      const { ranks, rewards } = await scorer.rank(prompt, pictures);
      expect(ranks).toEqual(golden.imagereward.ranks.map((row) => row[p]));
      expectClose([rewards], [expected]);
      expectClose([[await scorer.score(prompt, pictures[1]!)]], [[expected[1]!]]);
    }
    expect(await scorer.rank(prompts[0]!, [])).toEqual({ ranks: [], rewards: [] });
    // The third picture has the model's size: its bytes are what the model sees.
    const { data } = pictures[2]!;
    const planes = Float32Array.from({ length: 3 * 256 }, (_, i) => data[i % 256]! / 255);
    const picture = requireGrad(tensor(device, planes, [1, 3, 16, 16]));
    const reward = scope(() => {
      const scored = scorer.scoreTensor([prompts[0]!], picture);
      backward(scored.sum());
      return scored.alias();
    });
    expectClose([[...(await reward.data())]], [[golden.imagereward.scores[2]![0]!]]);
    const gradient = await gradOf(picture)!.data();
    expect(gradient.filter((x) => x !== 0).length).toBeGreaterThan(700);
    gradOf(picture)!.dispose();
    picture.dispose();
    reward.dispose();
  });

  it("takes the text tower's sizes from its options, and mean and deviation of a model of one's own", async () => {
    const [own, plain] = [
      await ImageReward.load(rewardFolder(), device, { medConfig: med, config: { mean: 1, std: 0.5 } }),
      await ImageReward.load({ folder: rewardFolder(), file: "ImageReward.pt" }, device, { medConfig: med }),
    ];
    const [a, b] = [await own.score(prompts[0]!, pictures[0]!), await plain.score(prompts[0]!, pictures[0]!)];
    const { mean, std } = plain.model;
    expect(a).toBeCloseTo((b * std + mean - 1) / 0.5, 4);
    own.dispose();
    plain.dispose();
  });

  it("says what is missing, and leaves nothing in memory", async () => {
    const before = device.memory().inUse;
    const folder = rewardFolder({ "med_config.json": medConfig });
    const bare = memoryFolder(
      new Map([["ImageReward.pt", new Uint8Array(readFileSync(new URL("ImageReward.pt", GOLDEN)))]]),
      "bare",
    );
    await expect(ImageReward.load(bare, device, { medConfig: med })).rejects.toThrow(
      /its tokenizer is missing: bare has neither vocab\.txt nor tokenizer/,
    );
    await expect(ImageReward.load(bare, device)).rejects.toThrow(/does not fit the model/);
    await expect(ImageReward.load(memoryFolder(new Map(), "none"), device)).rejects.toThrow(
      /none: holds no reward model/,
    );
    await expect(ImageReward.load({ folder: await headFolder(), file: "head.pth" }, device)).rejects.toThrow(
      /holds no BLIP encoders: blip\.visual_encoder\.pos_embed is not among/,
    );
    const words = text([...golden.vocabulary, "more", "than", "fit"].join("\n"));
    await folder.write("vocab.txt", words);
    await expect(ImageReward.load(folder, device)).rejects.toThrow(DataError);
    await expect(ClipScorer.load(folder, device)).rejects.toThrow(/tokenizer is missing.*bpe_simple_vocab_16e6/);
    await expect(BlipScorer.load(memoryFolder(new Map([["vocab.txt", vocabulary]]), "b"), device)).rejects.toThrow(
      CheckpointError,
    );
    expect(device.memory().inUse).toBe(before);
  });
});

describe("encoded pictures", () => {
  it("go through the tower once, and are forgotten when they take too much", async () => {
    let encoded = 0;
    const scorer: PictureScorer = {
      name: "clip",
      device,
      imageSize: 4,
      tokenizer: null,
      encodeImages(rgb) {
        encoded += rgb.shape[0]!;
        return rgb.reshape(rgb.shape[0]!, -1);
      },
      scoreEncoded: (rows) => rows.mean(1),
      dispose: () => {},
    };
    const flat = (value: number) => ({ width: 4, height: 4, rgb: new Uint8Array(48).fill(value) });
    const before = device.memory().inUse;
    // Three rows of 192 bytes.
    const kept = new EncodedPictures(scorer, 600);
    const rows = async (...values: number[]): Promise<number[]> => {
      using table = await kept.encode(values.map(flat));
      expect(table.shape).toEqual([values.length, 48]);
      const pairs = values.map((_, row) => ({ row, prompt: "" })).reverse();
      return (await scorePairs(scorer, table, pairs, 2)).map((score) => Math.round(255 * score)).reverse();
    };
    expect(await rows(10, 20, 10)).toEqual([10, 20, 10]);
    expect(encoded).toBe(2);
    expect(await rows(20, 30)).toEqual([20, 30]);
    expect(encoded).toBe(3);
    // 10 was used least recently.
    expect(await rows(40)).toEqual([40]);
    expect(kept.size).toBe(3);
    await rows(20, 30, 40);
    expect(encoded).toBe(4);
    expect(await rows(10, 20, 30, 40, 50)).toEqual([10, 20, 30, 40, 50]);
    expect(encoded).toBe(6);
    expect(kept.size).toBe(3);
    kept.dispose();
    expect(device.memory().inUse).toBe(before);
    expect(() => squareOf({ width: 2, height: 2, rgb: new Uint8Array(3) }, 4)).toThrow(ShapeError);
  });
});

it("gives each place once, of equal scores to the earlier", () => {
  expect(strictRanks([0.5, 2, 0.5, -1])).toEqual([2, 1, 3, 4]);
  expect(strictRanks([])).toEqual([]);
});

/** Scores of LAION's unit embeddings `rating0` to `rating9` by ImageReward's aesthetic scorer, computed by PyTorch in float64. */
const real: { scores: Record<string, number[]> } = JSON.parse(
  readFileSync(new URL("../../../models/test/golden/aesthetic.json", import.meta.url), "utf8"),
);

describe("the released aesthetic predictors on real CLIP embeddings", () => {
  for (const [file, expected] of Object.entries(real.scores)) {
    it(`${file} gives its scores to 1e-5`, async (context) => {
      const bytes = sharedData(context, `aesthetic/${file}`);
      const rows = expected.map((_, i) => {
        const npy = sharedData(context, `aesthetic/embeddings/rating${i}.npy`);
        // Version 1 of the format: ten bytes, then a header of the length that the last two of them tell.
        const header = new DataView(npy.buffer).getUint16(8, true);
        return [...new Float32Array(npy.slice(10 + header).buffer).subarray(0, 768)];
      });
      const checkpoint = await openCheckpoint(bytesSource(bytes, file));
      const predictor = await AestheticPredictor.fromCheckpoint(checkpoint, device);
      await checkpoint.close();
      const vision = new CLIPVisionModelWithProjection({ ...golden.clip.model, projection_dim: 768 });
      const scorer = new AestheticScorer(device, vision, predictor);
      using embeddings = tensor(device, rows.flat(), [rows.length, 768]);
      const pairs = rows.map((_, row) => ({ row, prompt: "" }));
      const found = await scorePairs(scorer, embeddings, pairs, 4);
      for (const [i, score] of expected.entries()) expect(Math.abs(found[i]! - score), `rating${i}`).toBeLessThan(1e-5);
      scorer.dispose();
    });
  }

  it("refuse embeddings of another length", () => {
    const vision = new CLIPVisionModelWithProjection(golden.clip.model);
    expect(() => new AestheticScorer(device, vision, new AestheticPredictor())).toThrow(
      /head: takes embeddings of 768 numbers, CLIP's have 24/,
    );
  });
});
