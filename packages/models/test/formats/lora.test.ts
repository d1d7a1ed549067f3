/** LoRA files: what diffusers and PEFT wrote, and what is written here, in every form. */
import { readFileSync } from "node:fs";
import {
  bytesSource,
  entryToFloat32,
  float32Entry,
  type LoraFormat,
  type LoraWeights,
  loraPaths,
  openCheckpoint,
  peftConfig,
  readLora,
  type TensorEntry,
  UNet2DConditionModel,
  writeLora,
  writeSafetensors,
} from "@refl/models";
import { CheckpointError } from "@refl/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const golden = (name: string) =>
  new Uint8Array(readFileSync(new URL(`../golden/checkpoints/${name}`, import.meta.url)));
interface Matrix {
  readonly shape: number[];
  readonly values: number[];
}
const { unet, layers } = JSON.parse(new TextDecoder().decode(golden("lora.json"))) as {
  unet: Record<string, unknown>;
  layers: Record<string, { alpha: number; down: Matrix; up: Matrix }>;
};
const paths = loraPaths(new UNet2DConditionModel(unet));
const open = (bytes: Uint8Array) => openCheckpoint(bytesSource(bytes, "lora.safetensors"));

function plain(weights: LoraWeights): Record<string, { alpha: number; down: Matrix; up: Matrix }> {
  const matrix = (entry: TensorEntry) => ({
    shape: [...entry.shape],
    values: [...entryToFloat32(entry)],
  });
  return Object.fromEntries(
    [...weights].map(([path, { alpha, down, up }]) => [path, { alpha, down: matrix(down), up: matrix(up) }]),
  );
}

it.each(["lora_diffusers.safetensors", "lora_kohya.safetensors"])(
  "reads %s with every rank and alpha",
  async (name) => {
    expect(plain(await readLora(await open(golden(name)), paths))).toEqual(layers);
  },
);

const weightsArbitrary = fc
  .uniqueArray(
    fc.record({
      path: fc.constantFrom(...paths),
      rank: fc.integer({ min: 1, max: 3 }),
      alpha: fc.integer({ min: 1, max: 64 }),
      sizes: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })),
    }),
    { selector: ({ path }) => path, minLength: 1, maxLength: 6 },
  )
  .map((list): LoraWeights => {
    const matrix = (rows: number, columns: number) =>
      float32Entry(
        "",
        [rows, columns],
        Float32Array.from({ length: rows * columns }, (_, i) => i - rows),
      );
    return new Map(
      list.map(({ path, rank, alpha, sizes: [inside, outside] }) => [
        path,
        { down: matrix(rank, inside), up: matrix(outside, rank), alpha },
      ]),
    );
  });

describe.each<LoraFormat>(["kohya", "diffusers", "peft"])("in %s form", (format) => {
  it("gives back what was written, mixed ranks and alphas included", async () => {
    await fc.assert(
      fc.asyncProperty(weightsArbitrary, async (weights) => {
        const config = format === "peft" ? { config: peftConfig(weights) } : {};
        const back = await readLora(await open(writeLora(weights, format)), paths, config);
        const sorted = (of: LoraWeights) => Object.entries(plain(of)).sort(([a], [b]) => (a < b ? -1 : 1));
        expect(sorted(back)).toEqual(sorted(weights));
      }),
      { numRuns: 60, seed: 5 },
    );
  });
});

const one = new Map([
  [
    paths.find((path) => path.endsWith("attn1.to_q"))!,
    {
      down: float32Entry("", [1, 4], Float32Array.of(1, 2, 3, 4)),
      up: float32Entry("", [4, 1], Float32Array.of(5, 6, 7, 8)),
      alpha: 2,
    },
  ],
]);
const [path] = [...one.keys()] as [string];

it("writes the metadata that the tools look for, and the caller's", async () => {
  const { metadata } = await open(writeLora(one, "kohya", { metadata: { ss_base_model_version: "sd_v1" } }));
  expect(Object.fromEntries(metadata)).toEqual({
    ss_network_module: "networks.lora",
    ss_network_dim: "1",
    ss_network_alpha: "2",
    ss_base_model_version: "sd_v1",
  });
  const diffusers = (await open(writeLora(one, "diffusers"))).metadata;
  expect(JSON.parse(diffusers.get("lora_adapter_metadata")!)).toMatchObject({ "unet.r": 1, "unet.lora_alpha": 2 });
});

it("passes over the text encoder's adapters, reads the names of before PEFT, and 1×1 convolutions", async () => {
  const entry = (name: string, shape: number[]) =>
    float32Entry(name, shape, new Float32Array(shape.reduce((product, size) => product * size, 1)));
  const file = writeSafetensors([
    entry(`unet.${path}.lora.down.weight`, [2, 4, 1, 1]),
    entry(`unet.${path}.lora.up.weight`, [4, 2, 1, 1]),
    entry("text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight", [2, 4]),
    entry("lora_te_text_model_encoder_layers_0_mlp_fc1.alpha", []),
  ]);
  const weights = await readLora(await open(file), paths);
  expect([...weights.keys()]).toEqual([path]);
  expect(weights.get(path)).toMatchObject({ alpha: 2, down: { shape: [2, 4] }, up: { shape: [4, 2] } });
});

describe("refuses", () => {
  const entry = (name: string, shape: number[] = [1, 1]) =>
    float32Entry(name, shape, new Float32Array(shape.reduce((product, size) => product * size, 1)));
  it.each([
    ["layers that the model lacks", [entry("unet.nowhere.lora_A.weight")], /no adapters of the model: unet\.nowhere/],
    ["tensors of other kinds", [entry(`unet.${path}.lora_magnitude_vector`)], /lora_magnitude_vector/],
    ["a half without the other", [entry(`unet.${path}.lora_A.weight`)], /one matrix only/],
    [
      "matrices that do not fit",
      [entry(`unet.${path}.lora_A.weight`, [2, 3]), entry(`unet.${path}.lora_B.weight`, [3, 3])],
      /do not fit/,
    ],
    ["a file of the other model alone", [entry("lora_te_x.alpha", [])], /no adapters of the unet/],
  ])("%s", async (_, entries, message) => {
    const attempt = readLora(await open(writeSafetensors(entries)), paths);
    await expect(attempt).rejects.toThrow(CheckpointError);
    await expect(attempt).rejects.toThrow(message);
  });

  it("to write nothing, or what does not fit", () => {
    expect(() => writeLora(new Map(), "kohya")).toThrow(/no adapters to write/);
    const { down, up } = one.get(path)!;
    expect(() => writeLora(new Map([[path, { down, up: down, alpha: 1 }]]), "kohya")).toThrow(/do not fit/);
    expect(() => writeLora(new Map([[path, { down, up, alpha: Number.NaN }]]), "kohya")).toThrow(/finite/);
  });
});
