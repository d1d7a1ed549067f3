/** Stable Diffusion 1 in one file: every name and shape against diffusers' conversion, averages, what is passed over and what is refused. */
import { readFileSync } from "node:fs";
import {
  AutoencoderKL,
  bytesSource,
  type Checkpoint,
  isLdmCheckpoint,
  ldmAutoencoder,
  matchStateDict,
  openCheckpoint,
  SD1_VAE_CONFIG,
  splitLdmCheckpoint,
  type TensorHeader,
  UNet2DConditionModel,
  writeSafetensors,
} from "@refl/models";
import { CheckpointError } from "@refl/tensor";
import { describe, expect, it } from "vitest";
import { makeCheckpoint } from "../../src/formats/checkpoint.ts";

const table = readFileSync(new URL("../golden/checkpoints/ldm_names.tsv", import.meta.url), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => line.split("\t") as [from: string, to: string, fromShape: string, toShape: string]);
const shapeOf = (text: string): number[] => text.split("x").map(Number);
const TEXT = "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.bias";

/** A checkpoint of names and shapes whose data are its names. */
function named(shapes: readonly (readonly [name: string, shape: readonly number[]])[]): Checkpoint {
  return makeCheckpoint({
    name: "sd.ckpt",
    format: "torch-zip",
    metadata: new Map(),
    tensors: new Map(shapes.map(([name, shape]): [string, TensorHeader] => [name, { name, dtype: "F32", shape }])),
    read: async ({ name }) => new TextEncoder().encode(name),
    close: async () => {},
  });
}

const released = (): [string, number[]][] => [
  ...table.map(([from, , shape]): [string, number[]] => [from, shapeOf(shape)]),
  [TEXT, [3072]],
  ["cond_stage_model.transformer.text_model.embeddings.position_ids", [1, 77]],
  ["betas", [1000]],
  ["sqrt_one_minus_alphas_cumprod", [1000]],
  ["posterior_mean_coef1", [1000]],
  ["model_ema.decay", []],
];

const textOf = async (checkpoint: Checkpoint, name: string): Promise<string> =>
  new TextDecoder().decode((await checkpoint.read(name)).bytes);

describe("splitLdmCheckpoint", () => {
  it("gives every weight the name and shape that diffusers' conversion gives it", async () => {
    const whole = named(released());
    expect(isLdmCheckpoint(whole)).toBe(true);
    const { unet, vae, textEncoder } = splitLdmCheckpoint(whole);
    for (const [from, to, , shape] of table) {
      const part = from.startsWith("model.") ? unet : vae;
      expect(part.tensors.get(to)?.shape).toEqual(shapeOf(shape));
      expect(await textOf(part, to)).toBe(from);
    }
    expect([unet.tensors.size, vae.tensors.size]).toEqual([686, 248]);
    expect(await textOf(textEncoder, "text_model.encoder.layers.0.mlp.fc1.bias")).toBe(TEXT);
    expect(textEncoder.tensors.size).toBe(1);
  });

  it("fits the models of the released configs", () => {
    const { unet, vae } = splitLdmCheckpoint(named(released()));
    const model = new UNet2DConditionModel({ cross_attention_dim: 768, attention_head_dim: 8 });
    expect(matchStateDict("unet", model.shapes(), unet.shapes()).missing).toEqual([]);
    expect(matchStateDict("vae", new AutoencoderKL(SD1_VAE_CONFIG).shapes(), vae.shapes()).missing).toEqual([]);
  });

  it("takes the averages by option, whose names have no dots", async () => {
    const averages = table
      .filter(([from]) => from.startsWith("model."))
      .map(([from, , shape]): [string, number[]] => [`model_ema.${from.slice(6).replaceAll(".", "")}`, shapeOf(shape)]);
    const { unet } = splitLdmCheckpoint(named([...released(), ...averages]), { ema: true });
    expect(await textOf(unet, "conv_in.weight")).toBe("model_ema.diffusion_modelinput_blocks00weight");
    expect(() => splitLdmCheckpoint(named(released()), { ema: true })).toThrow(/has no average model_ema\.diffusion/);
  });

  it.each([
    ["cond_stage_model.model.transformer.resblocks.0.ln_1.bias", /Stable Diffusion 2 or XL/],
    [
      "model.diffusion_model.label_emb.0.0.weight",
      /1 tensors are none of Stable Diffusion 1: model\.diffusion_model\.label/,
    ],
    ["control_model.time_embed.0.weight", /control_model/],
    ["first_stage_model.encoder.up.0.block.0.norm1.weight", /first_stage_model\.encoder\.up/],
  ])("refuses %s", (name, message) => {
    const attempt = () => splitLdmCheckpoint(named([...released(), [name, [1]]]));
    expect(attempt).toThrow(CheckpointError);
    expect(attempt).toThrow(message);
  });

  it("refuses what is no Stable Diffusion file", () => {
    expect(() => splitLdmCheckpoint(named([["conv_in.weight", [1]]]))).toThrow(/no Stable Diffusion checkpoint/);
  });
});

it("reads the projections of an autoencoder's own file as linear layers", async () => {
  const name = "decoder.mid.attn_1.q.weight";
  const bytes = writeSafetensors([
    { name, dtype: "F16", shape: [2, 2, 1, 1], bytes: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) },
    { name: "decoder.up.3.block.2.nin_shortcut.bias", dtype: "F16", shape: [1], bytes: new Uint8Array(2) },
    { name: "loss.logvar", dtype: "F16", shape: [], bytes: new Uint8Array(2) },
  ]);
  const vae = ldmAutoencoder(await openCheckpoint(bytesSource(bytes, "vae.safetensors")));
  expect(await vae.read("decoder.mid_block.attentions.0.to_q.weight")).toEqual({
    name: "decoder.mid_block.attentions.0.to_q.weight",
    dtype: "F16",
    shape: [2, 2],
    bytes: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
  });
  expect([...vae.tensors.keys()]).toContain("decoder.up_blocks.0.resnets.2.conv_shortcut.bias");
});
