/** Options of `openCheckpoint`, what it says of files that are no checkpoints, sharded checkpoints and the choice of a folder's weights. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import {
  bytesSource,
  entryToFloat32,
  float32Entry,
  memoryFolder,
  openCheckpoint,
  openShardedCheckpoint,
  openWeights,
  writeSafetensors,
} from "@refl/models";
import { nodeFolder, openFileSource } from "@refl/models/node";
import { CheckpointError, DataError } from "@refl/tensor";
import { describe, expect, it } from "vitest";

const GOLDEN = fileURLToPath(new URL("../golden/checkpoints/", import.meta.url));
const golden = (name: string) => bytesSource(new Uint8Array(readFileSync(GOLDEN + name)), name);
const text = (value: string) => new TextEncoder().encode(value);
const file = (names: readonly string[], value = 1, dtype: "F32" | "F16" | "BF16" = "F32") =>
  writeSafetensors(names.map((name) => float32Entry(name, [1], Float32Array.of(value), dtype)));

describe("options", () => {
  it("strips prefixes that all names share, and only those", async () => {
    const names = async (of: readonly string[], strip?: readonly string[]) => {
      const source = bytesSource(file(of), "a.safetensors");
      return [...(await openCheckpoint(source, strip ? { strip } : {})).tensors.keys()];
    };
    expect(await names(["module._orig_mod.a", "module._orig_mod.b"])).toEqual(["a", "b"]);
    expect(await names(["module.a", "b"])).toEqual(["b", "module.a"]);
    expect(await names(["module.a"], [])).toEqual(["module.a"]);
    expect(await names(["blip.a"], ["blip."])).toEqual(["a"]);
  });

  it("finds a wrapped dict, or the one that is named", async () => {
    const wrapped = await openCheckpoint(golden("wrapped.ckpt"));
    expect(wrapped.metadata.get("epoch")).toBe("3");
    expect(wrapped.metadata.get("global_step")).toBe(String(2 ** 40));
    expect([...wrapped.tensors.keys()]).toContain("0.weight");
    const named = await openCheckpoint(golden("wrapped.ckpt"), { wrapper: "state_dict" });
    expect([...named.tensors.keys()]).toEqual([...wrapped.tensors.keys()]);
    await expect(openCheckpoint(golden("wrapped.ckpt"), { wrapper: "ema" })).rejects.toThrow(
      /has no dict "ema"; it has epoch, global_step/,
    );
  });

  it.each(["F32", "F16", "BF16"] as const)("refuses a NaN in %s by option, naming the tensor", async (dtype) => {
    const bytes = writeSafetensors([float32Entry("w", [3], Float32Array.of(1, 2, Number.NaN), dtype)]);
    const open = (finite: boolean) => openCheckpoint(bytesSource(bytes, "a.safetensors"), { finite });
    expect(entryToFloat32(await (await open(false)).read("w"))).toEqual(Float32Array.of(1, 2, Number.NaN));
    await expect((await open(true)).read("w")).rejects.toThrow(
      /tensor "w" holds NaN or infinity \(first at element 2\)/,
    );
  });
});

it.each(["types.pt", "legacy_types.pth", "types.safetensors"])(
  "puts tensors of %s into a buffer that is lent",
  async (name) => {
    const checkpoint = await openCheckpoint(await openFileSource(GOLDEN + name));
    const buffer = new Uint8Array(64).fill(255);
    const lent = await checkpoint.read("f32", buffer);
    expect(lent.bytes.buffer).toBe(buffer.buffer);
    const fresh = await checkpoint.read("f32", new Uint8Array(3));
    expect(fresh.bytes.buffer).not.toBe(buffer.buffer);
    expect(lent).toEqual(fresh);
    await checkpoint.close();
  },
);

describe("files that are no checkpoints", () => {
  it.each([
    ["version https://git-lfs.github.com/spec/v1\noid sha256:1\n", /Git LFS pointer/],
    ["<!DOCTYPE html><html>", /web page/],
    ["GGUF\x03", /GGUF/],
    ["\x80\x03}q\x00.", /bare pickle/],
    ["", /header length/],
    ["PK\x03\x04", /no zip directory/],
  ])("%j", async (beginning, message) => {
    const bytes = Uint8Array.from(beginning, (character) => character.charCodeAt(0));
    const attempt = openCheckpoint(bytesSource(bytes, "model.pt"));
    await expect(attempt).rejects.toThrow(CheckpointError);
    await expect(attempt).rejects.toThrow(message);
  });

  it("closes the source when opening fails", async () => {
    let closed = 0;
    const source = { ...bytesSource(text("<html>"), "a.pt"), close: async () => void closed++ };
    await expect(openCheckpoint(source)).rejects.toThrow(CheckpointError);
    expect(closed).toBe(1);
  });
});

describe("sharded checkpoints", () => {
  it("reads what huggingface_hub split", async () => {
    const expected = JSON.parse(readFileSync(`${GOLDEN}expected.json`, "utf8")) as Record<
      string,
      { tensors: Record<string, { dtype: string; shape: number[]; values: number[] }> }
    >;
    const { tensors } = expected["sharded/model.safetensors.index.json"]!;
    const whole = await openShardedCheckpoint(nodeFolder(GOLDEN), "sharded/model.safetensors.index.json", {
      halves: "widen",
    });
    expect([...whole.tensors.keys()].sort()).toEqual(Object.keys(tensors).sort());
    for (const name of ["f16", "bf16", "f32"]) {
      expect([...entryToFloat32(await whole.read(name))]).toEqual(tensors[name]!.values);
    }
    await whole.close();
  });

  const index = (map: unknown) => text(JSON.stringify({ metadata: {}, weight_map: map }));
  const folder = (map: unknown) =>
    memoryFolder(
      new Map([
        ["m/model.safetensors.index.json", index(map)],
        ["m/1.safetensors", file(["module.a"])],
        ["m/2.safetensors", file(["module.b"], 2)],
        ["m/3.safetensors", file(["module.a"], 3)],
      ]),
    );

  it("strips a prefix only when the whole has it", async () => {
    const map = { "module.a": "1.safetensors", "module.b": "2.safetensors" };
    const whole = await openWeights(folder(map), "m/model.safetensors");
    expect([...whole.tensors.keys()].sort()).toEqual(["a", "b"]);
    expect(entryToFloat32(await whole.read("b"))).toEqual(Float32Array.of(2));
  });

  it.each([
    [{ "module.a": "1.safetensors", "module.c": "2.safetensors" }, /2\.safetensors has no module\.c/],
    [{ "module.a": "1.safetensors", "module.b": "3.safetensors" }, /both have module\.a/],
    [{ "module.a": "4.safetensors" }, /4\.safetensors: does not exist/],
  ])("refuses %j", async (map, message) => {
    const attempt = openWeights(folder(map), "m/model.safetensors");
    await expect(attempt).rejects.toThrow(CheckpointError);
    await expect(attempt).rejects.toThrow(message);
  });

  it.each([{ "module.a": "../1.safetensors" }, { "module.a": 1 }, []])("refuses a malformed index %j", async (map) => {
    await expect(openWeights(folder(map), "m/model.safetensors")).rejects.toThrow(DataError);
  });
});

describe("openWeights", () => {
  const bin = new Uint8Array(readFileSync(`${GOLDEN}state_dict.pt`));
  const format = async (files: Record<string, Uint8Array>, variant?: string) => {
    const folder = memoryFolder(new Map(Object.entries(files)));
    const found = await openWeights(folder, "unet/model.safetensors", variant ? { variant } : {});
    return [found.name, found.format];
  };

  it("prefers safetensors, takes PyTorch's files under their names", async () => {
    const files = { "unet/pytorch_model.bin": bin };
    expect(await format(files)).toEqual(["memory/unet/pytorch_model.bin", "torch-zip"]);
    const both = { ...files, "unet/model.safetensors": file(["a"]) };
    expect(await format(both)).toEqual(["memory/unet/model.safetensors", "safetensors"]);
    const variants = { ...both, "unet/model.fp16.safetensors": file(["a"]) };
    expect(await format(variants, "fp16")).toEqual(["memory/unet/model.fp16.safetensors", "safetensors"]);
    expect(await format(both, "fp16")).toEqual(["memory/unet/model.safetensors", "safetensors"]);
  });

  it("names the files that there are when there is none", async () => {
    await expect(format({ "unet/config.json": text("{}") })).rejects.toThrow(
      /does not exist; the folder has unet\/config/,
    );
  });
});
