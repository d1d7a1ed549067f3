/** Model folders in memory, their JSON, `model_index.json` and the matching of state dicts. */
import {
  clipTextRename,
  matchStateDict,
  memoryFolder,
  modelIndexToJson,
  POSITION_IDS,
  parseConfig,
  parseJson,
  parseModelIndex,
  readModelIndex,
  stringifyJson,
  subfolder,
} from "@refl/models";
import { CheckpointError, DataError } from "@refl/tensor";
import fc from "fast-check";
import * as v from "valibot";
import { describe, expect, it } from "vitest";

const text = (value: string) => new TextEncoder().encode(value);

describe("memoryFolder", () => {
  it("keeps a file that comes in pieces that share memory, or what it had when the pieces end in an error", async () => {
    const files = new Map<string, Uint8Array>();
    const folder = memoryFolder(files);
    const piece = new Uint8Array(2);
    const pieces = async function* (fails: boolean) {
      for (let i = 0; i < 3; i++) yield piece.fill(i);
      if (fails) throw new CheckpointError("source", "is cut");
      yield new Uint8Array(0);
    };
    await folder.write("f", pieces(false));
    expect([...files.get("f")!]).toEqual([0, 0, 1, 1, 2, 2]);
    await folder.write("f", Uint8Array.of(7));
    await expect(folder.write("f", pieces(true))).rejects.toThrow("source: is cut");
    expect([...files.get("f")!]).toEqual([7]);
  });

  it("lists, reads and writes", async () => {
    const folder = memoryFolder(new Map([["unet/config.json", text('{"in_channels": 3}')]]), "shipped");
    await folder.writeJson("scheduler/scheduler_config.json", { b: 1, a: [true] });
    expect(await folder.list()).toEqual(["scheduler/scheduler_config.json", "unet/config.json"]);
    expect(await folder.exists("unet/config.json")).toBe(true);
    expect(await folder.exists("vae/config.json")).toBe(false);
    const unet = subfolder(folder, "unet");
    expect(await unet.list()).toEqual(["config.json"]);
    expect(await unet.readJson("config.json")).toEqual({ in_channels: 3 });
    const source = await folder.open("scheduler/scheduler_config.json");
    expect(new TextDecoder().decode(await source.read(0, source.size))).toBe(
      '{\n  "a": [\n    true\n  ],\n  "b": 1\n}\n',
    );
  });

  it("names the file that is missing or damaged, and the line", async () => {
    const folder = memoryFolder(
      new Map([
        ["a.json", text('{\n"x": 1,\n"x": 2}')],
        ["b.json", text("{\n]")],
        ["c.json", Uint8Array.of(255)],
      ]),
      "m",
    );
    await expect(folder.open("unet/config.json")).rejects.toMatchObject({
      code: "checkpoint",
      file: "m/unet/config.json",
    });
    await expect(folder.readJson("a.json")).rejects.toMatchObject({ code: "data", file: "m/a.json", line: 3 });
    await expect(folder.readJson("b.json")).rejects.toMatchObject({ code: "data", file: "m/b.json", line: 2 });
    await expect(folder.readJson("c.json")).rejects.toMatchObject({ code: "checkpoint", file: "m/c.json" });
  });

  it.each(["../x", "/x", "a//b", "a/../b", "./a", "", "a\\b", "C:x", "a\0"])("refuses the path %j", async (path) => {
    await expect(memoryFolder().open(path)).rejects.toBeInstanceOf(CheckpointError);
    await expect(memoryFolder().write(path, new Uint8Array(1))).rejects.toBeInstanceOf(CheckpointError);
  });

  it("reads no range outside a file", async () => {
    const source = await memoryFolder(new Map([["f", new Uint8Array(4)]])).open("f");
    for (const [offset, length] of [
      [0, 5],
      [4, 1],
      [-1, 2],
      [0, -1],
      [0.5, 1],
      [0, Number.NaN],
    ] as const) {
      await expect(source.read(offset, length)).rejects.toBeInstanceOf(CheckpointError);
    }
  });
});

describe("JSON", () => {
  it("parses what JSON.stringify writes", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
        const written = JSON.stringify(value);
        expect(parseJson(written, "f")).toEqual(JSON.parse(written));
        expect(parseJson(stringifyJson(JSON.parse(written)), "f")).toEqual(JSON.parse(written));
      }),
    );
  });

  it("throws only DataError on any text", () => {
    const piece = fc.constantFrom("{", "}", "[", "]", '"', "\\", ":", ",", "a", "1", " ", "\n", "\\u0061", "null");
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        try {
          parseJson(pieces.join(""), "f");
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("tells a key from a value, and an object from its neighbour", () => {
    expect(parseJson('[{"a": "a"}, {"a": ["a", {"a": 1}]}]', "f")).toEqual([{ a: "a" }, { a: ["a", { a: 1 }] }]);
    expect(() => parseJson('{"a\\\\": 1, "b": {"a": 2}, "a\\u005c": 3}', "f")).toThrow(/stands twice/);
  });
});

describe("parseConfig", () => {
  const schema = v.strictObject({ sample_size: v.number(), act_fn: v.optional(v.picklist(["silu", "gelu"]), "silu") });

  it("fills defaults and passes over bookkeeping", () => {
    expect(parseConfig(schema, { _class_name: "X", sample_size: 8 }, "f")).toEqual({ sample_size: 8, act_fn: "silu" });
  });

  it.each([
    [{ sample_size: 8, act_fnn: "silu" }, "act_fnn", /unknown key; did you mean "act_fn"/],
    [{ sample_size: 8, zzzzzzzz: 1 }, "zzzzzzzz", /unknown key$/],
    [{}, "sample_size", /sample_size: is missing/],
    [{ sample_size: "8" }, "sample_size", /Expected number but received "8"/],
    [{ sample_size: 8, act_fn: "relu" }, "act_fn", /"silu" \| "gelu"/],
  ])("refuses %j naming the field", (value, field, message) => {
    const parse = () => parseConfig(schema, value, "unet/config.json");
    expect(parse).toThrow(expect.objectContaining({ code: "data", file: "unet/config.json", field }));
    expect(parse).toThrow(message);
  });
});

describe("model_index.json", () => {
  const json = {
    _class_name: "StableDiffusionPipeline",
    _diffusers_version: "0.42.1",
    requires_safety_checker: false,
    safety_checker: [null, null],
    scheduler: ["diffusers", "PNDMScheduler"],
    unet: ["diffusers", "UNet2DConditionModel"],
  };

  it("is read and written", async () => {
    const folder = memoryFolder();
    await folder.writeJson("model_index.json", json);
    const index = await readModelIndex(folder);
    expect(index.className).toBe("StableDiffusionPipeline");
    expect([...index.components]).toEqual([
      ["scheduler", ["diffusers", "PNDMScheduler"]],
      ["unet", ["diffusers", "UNet2DConditionModel"]],
    ]);
    expect([...index.options]).toEqual([["requires_safety_checker", false]]);
    const { _diffusers_version, safety_checker, ...kept } = json;
    expect(modelIndexToJson(index)).toEqual(kept);
  });

  it.each([
    [{ unet: ["diffusers", "UNet2DConditionModel"] }, "_class_name"],
    [{ _class_name: "P", unet: ["diffusers"] }, "unet"],
    [{ _class_name: "P", unet: ["diffusers", null] }, "unet"],
    [{ _class_name: "P", unet: [1, 2] }, "unet"],
  ])("refuses %j", (value, field) => {
    expect(() => parseModelIndex(value, "m/model_index.json")).toThrow(
      expect.objectContaining({ file: "m/model_index.json", field }),
    );
  });
});

describe("matchStateDict", () => {
  const expected = new Map([
    ["a.weight", [2, 3]],
    ["a.bias", [2]],
    ["b.weight", [4]],
  ]);

  it("matches in the module's order", () => {
    const found = new Map([
      ["b.weight", [4]],
      ["a.bias", [2]],
      ["a.weight", [2, 3]],
    ]);
    expect([...matchStateDict("f", expected, found).matched]).toEqual([
      ["a.weight", "a.weight"],
      ["a.bias", "a.bias"],
      ["b.weight", "b.weight"],
    ]);
  });

  it("lists missing, unexpected and misshapen keys in one error", () => {
    const found = new Map([
      ["a.weight", [3, 2]],
      ["b.weight", [4]],
      ["c.weight", [1]],
    ]);
    const match = () => matchStateDict("unet/diffusion_pytorch_model.safetensors", expected, found);
    expect(match).toThrow(
      expect.objectContaining({
        code: "checkpoint",
        file: "unet/diffusion_pytorch_model.safetensors",
        missing: ["a.bias"],
        unexpected: ["c.weight"],
        misshapen: [{ key: "a.weight", expected: [2, 3], found: [3, 2] }],
      }),
    );
    expect(match).toThrow(
      /1 missing: a\.bias; 1 unexpected: c\.weight; 1 of another shape: a\.weight is \[3, 2\], expected \[2, 3\]/,
    );
    expect(() => matchStateDict("f", expected, found, { strict: false })).toThrow(
      /^f: does not fit the model: 1 of another shape/,
    );
  });

  it("returns what differs when not strict", () => {
    const found = new Map([
      ["a.weight", [2, 3]],
      ["c.weight", [1]],
    ]);
    const { matched, missing, unexpected } = matchStateDict("f", expected, found, { strict: false });
    expect([...matched.keys()]).toEqual(["a.weight"]);
    expect({ missing, unexpected }).toEqual({ missing: ["a.bias", "b.weight"], unexpected: ["c.weight"] });
  });

  it("takes CLIP text keys with and without their prefix", () => {
    const clip = new Map([
      ["text_model.embeddings.token_embedding.weight", [9, 2]],
      ["text_model.final_layer_norm.bias", [2]],
    ]);
    const options = { rename: clipTextRename, ignore: [POSITION_IDS] };
    for (const prefix of ["", "text_model."]) {
      const found = new Map([
        [`${prefix}embeddings.token_embedding.weight`, [9, 2]],
        [`${prefix}embeddings.position_ids`, [1, 77]],
        [`${prefix}final_layer_norm.bias`, [2]],
      ]);
      expect([...matchStateDict("f", clip, found, options).matched.values()]).toEqual([
        `${prefix}embeddings.token_embedding.weight`,
        `${prefix}final_layer_norm.bias`,
      ]);
    }
    const both = new Map([
      ["final_layer_norm.bias", [2]],
      ["text_model.final_layer_norm.bias", [2]],
    ]);
    expect(() => matchStateDict("f", clip, both, options)).toThrow(/both stand for text_model\.final_layer_norm\.bias/);
  });
});
