/** Generation parameters in PNGs: our record, AUTOMATIC1111's text in both directions, and damaged ones. */
import { DataError } from "@refl/tensor";
import fc from "fast-check";
import { expect, it } from "vitest";
import {
  embedSampleRecord,
  formatParameters,
  parseParameters,
  readImageParameters,
  type SampleRecord,
} from "../../src/io/parameters.ts";
import { encodePng } from "../../src/io/png.node.ts";

const record: SampleRecord = {
  version: 1,
  prompt: "a cat on a blue background",
  steps: 12,
  sampler: "ddim",
  guidance: 1,
  seed: 42,
  index: 3,
  width: 32,
  height: 32,
  model: "emoji32, base",
  modelHash: "0123abcd",
};
const png = encodePng({ width: 1, height: 1, rgb: new Uint8Array(3) });

it("writes the form that other tools read", () => {
  expect(formatParameters({ ...record, negativePrompt: "blurry" })).toBe(
    [
      "a cat on a blue background",
      "Negative prompt: blurry",
      'Steps: 12, Sampler: DDIM, CFG scale: 1, Seed: 42, Size: 32x32, Model hash: 0123abcd, Model: "emoji32, base"',
    ].join("\n"),
  );
});

it("reads a text of another tool, also one with unknown keys and several lines of prompt", () => {
  const text = [
    "portrait, (best quality:1.2),",
    "second line: with a colon",
    "Negative prompt: ugly,",
    "bad hands",
    'Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 965400086, Size: 512x768, Model hash: 45dee52b, Model: mix, Lora hashes: "a: 1, b: 2", Version: v1.6.0',
  ].join("\n");
  expect(parseParameters(text)).toEqual({
    prompt: "portrait, (best quality:1.2),\nsecond line: with a colon",
    negativePrompt: "ugly,\nbad hands",
    steps: 20,
    sampler: "Euler a",
    guidance: 7.5,
    seed: 965400086,
    width: 512,
    height: 768,
    modelHash: "45dee52b",
    model: "mix",
  });
  expect(parseParameters("only a prompt")).toEqual({ prompt: "only a prompt" });
  expect(parseParameters("")).toEqual({ prompt: "" });
});

it("gives back what it wrote, for any prompt of one line", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "grapheme" }),
      fc.nat(),
      fc.string({ unit: "grapheme-ascii" }),
      (text, seed, model) => {
        const prompt = text.replaceAll(/[\r\n]/g, " ").trim();
        const whole: SampleRecord = { ...record, prompt, seed, model: model.trim() };
        expect(readImageParameters(embedSampleRecord(png, whole))).toEqual(whole);
        if (prompt.startsWith("Negative prompt:")) return;
        const { version: _v, index: _i, ...told } = whole;
        expect(parseParameters(formatParameters(whole))).toEqual(told);
      },
    ),
  );
});

it("never throws on any text", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => void parseParameters(text)));
});

it("falls back to the other tools' text, and names what is wrong with a PNG", () => {
  const foreign = encodePng(
    { width: 1, height: 1, rgb: new Uint8Array(3) },
    { parameters: "a dog\nSteps: 5, Seed: 1, Sampler: X" },
  );
  expect(readImageParameters(foreign)).toEqual({ prompt: "a dog", steps: 5, seed: 1, sampler: "X" });
  expect(() => readImageParameters(png, "bare.png")).toThrow(/bare\.png.*no generation parameters/);
  const rotten = (refl: string) => encodePng({ width: 1, height: 1, rgb: new Uint8Array(3) }, { refl });
  expect(() => readImageParameters(rotten("{"), "x.png")).toThrow(DataError);
  expect(() => readImageParameters(rotten(JSON.stringify({ ...record, steps: 0 })), "x.png")).toThrow(/refl\.steps/);
});
