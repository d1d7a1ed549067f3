/** Full-size models are counted and compared with their released checkpoints by shape alone, without memory for a weight. */
import { CheckpointError, DataError } from "@refl/tensor";
import { describe, expect, test } from "vitest";
import { BlipPretrainingModel, BlipRewardModel } from "../../src/models/blip.ts";
import { IMAGE_REWARD_CONFIG } from "../../src/models/blip-config.ts";
import { CLIPTextModel } from "../../src/models/clip-text.ts";
import { UNet2DConditionModel } from "../../src/models/unet.ts";
import { goldenConfig, openGolden } from "./golden.ts";

const SD1 = {
  _class_name: "UNet2DConditionModel",
  _diffusers_version: "0.6.0",
  act_fn: "silu",
  attention_head_dim: 8,
  block_out_channels: [320, 640, 1280, 1280],
  center_input_sample: false,
  cross_attention_dim: 768,
  down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
  downsample_padding: 1,
  flip_sin_to_cos: true,
  freq_shift: 0,
  in_channels: 4,
  layers_per_block: 2,
  mid_block_scale_factor: 1,
  norm_eps: 1e-5,
  norm_num_groups: 32,
  out_channels: 4,
  sample_size: 64,
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
};

const SD1_TEXT = {
  architectures: ["CLIPTextModel"],
  attention_dropout: 0,
  bos_token_id: 0,
  dropout: 0,
  eos_token_id: 2,
  hidden_act: "quick_gelu",
  hidden_size: 768,
  initializer_factor: 1,
  initializer_range: 0.02,
  intermediate_size: 3072,
  layer_norm_eps: 1e-5,
  max_position_embeddings: 77,
  model_type: "clip_text_model",
  num_attention_heads: 12,
  num_hidden_layers: 12,
  pad_token_id: 1,
  torch_dtype: "float32",
  transformers_version: "4.22.0.dev0",
  vocab_size: 49408,
};

describe("full-size configs", () => {
  test("the UNet of Stable Diffusion 1", () => {
    const unet = new UNet2DConditionModel(SD1);
    const shapes = unet.shapes();
    expect(shapes.size).toBe(686);
    expect(unet.parameterCount()).toBe(859_520_964);
    expect(shapes.get("up_blocks.0.resnets.0.conv1.weight")).toEqual([1280, 2560, 3, 3]);
    expect(shapes.get("up_blocks.1.resnets.2.norm1.weight")).toEqual([1920]);
    expect(shapes.get("up_blocks.3.resnets.0.conv_shortcut.weight")).toEqual([320, 960, 1, 1]);
    expect(shapes.get("down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_k.weight")).toEqual([320, 768]);
    expect(shapes.get("mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj.weight")).toEqual([10240, 1280]);
    expect(shapes.get("up_blocks.2.attentions.0.transformer_blocks.0.attn1.to_out.0.bias")).toEqual([640]);
    expect(shapes.has("up_blocks.3.upsamplers.0.conv.weight")).toBe(false);
  });

  test("ImageReward", () => {
    const model = new BlipRewardModel(IMAGE_REWARD_CONFIG);
    const shapes = model.shapes();
    // 625 tensors are in the file; one of them is the buffer of positions, which is no weight.
    expect(shapes.size).toBe(624);
    expect(model.parameterCount()).toBe(446_665_953);
    expect(model.blip.visual_encoder.parameterCount()).toBe(303_301_632);
    expect(model.blip.text_encoder.parameterCount()).toBe(141_977_088);
    expect(model.mlp.parameterCount()).toBe(927_969);
    expect(shapes.get("blip.visual_encoder.pos_embed")).toEqual([1, 197, 1024]);
    expect(shapes.get("blip.text_encoder.encoder.layer.11.crossattention.self.key.weight")).toEqual([768, 1024]);
    expect(shapes.get("mlp.layers.7.weight")).toEqual([1, 16]);
    expect([...shapes.keys()].slice(0, 3)).toEqual([
      "blip.visual_encoder.cls_token",
      "blip.visual_encoder.pos_embed",
      "blip.visual_encoder.patch_embed.proj.weight",
    ]);
  });

  test("the text encoder of Stable Diffusion 1", () => {
    const model = new CLIPTextModel(SD1_TEXT);
    expect(model.parameterCount()).toBe(123_060_480);
    expect(model.shapes().get("text_model.embeddings.token_embedding.weight")).toEqual([49408, 768]);
  });

  test("keys and order are PyTorch's", async () => {
    const { weights, model } = goldenConfig("unet_emoji") as {
      weights: Record<string, { shape: number[] }>;
      model: object;
    };
    const unet = new UNet2DConditionModel(model);
    expect([...unet.shapes()]).toEqual(Object.entries(weights).map(([key, { shape }]) => [key, shape]));
    const golden = await openGolden("blip_itm_tiny");
    const stored = [...golden.tensors.keys()].filter((key) => key.startsWith("param.blip."));
    const { model: options } = goldenConfig("blip_itm_tiny") as { model: Record<string, unknown> };
    const { vision, text, embed_dim } = options;
    const blip = new BlipPretrainingModel({ vision, text, embed_dim, max_length: 7 });
    expect([...blip.shapes().keys()].map((key) => `param.blip.${key}`).sort()).toEqual(stored.sort());
  });
});

describe("errors", () => {
  test("configs are refused by file and field", () => {
    const cases: [make: () => unknown, field: string, text: RegExp][] = [
      [
        () => new UNet2DConditionModel({ ...SD1, norm_num_group: 3 }, "a.json"),
        "norm_num_group",
        /a\.json: norm_num_group\b.*norm_num_groups/,
      ],
      [() => new UNet2DConditionModel({ ...SD1, class_embed_type: "timestep" }), "class_embed_type", /only null/],
      [() => new UNet2DConditionModel({ ...SD1, act_fn: "mish" }), "act_fn", /mish/],
      [() => new UNet2DConditionModel({ ...SD1, norm_num_groups: 7 }), "norm_num_groups", /does not divide 320/],
      [() => new UNet2DConditionModel({ ...SD1, up_block_types: ["UpBlock2D"] }), "up_block_types", /has 1 entries/],
      [() => new CLIPTextModel({ ...SD1_TEXT, num_attention_heads: 7 }), "num_attention_heads", /7 heads/],
      [() => new CLIPTextModel({ ...SD1_TEXT, hidden_dim: 7 }), "hidden_dim", /unknown key/],
      [() => new BlipRewardModel({ ...IMAGE_REWARD_CONFIG, head: [4] }), "head", /end in 1/],
    ];
    for (const [make, field, text] of cases) {
      expect(make).toThrow(text);
      expect(make).toThrow(expect.objectContaining({ field }));
      expect(make).toThrow(DataError);
    }
  });

  test("a state dict that does not fit is listed whole", () => {
    const unet = new UNet2DConditionModel({ ...SD1, block_out_channels: [32, 64, 64, 64] });
    const state = new Map([
      ["conv_in.weight", { dtype: "F32" as const, shape: [1], bytes: new Uint8Array(4) }],
      ["conv_inn.bias", { dtype: "F32" as const, shape: [1], bytes: new Uint8Array(4) }],
    ]);
    const load = () => unet.loadStateDict(state, { file: "x.safetensors" });
    expect(load).toThrow(CheckpointError);
    expect(load).toThrow(
      expect.objectContaining({
        unexpected: ["conv_inn.bias"],
        misshapen: [{ key: "conv_in.weight", expected: [32, 4, 3, 3], found: [1] }],
      }),
    );
  });

  test("an empty weight says what to do", () => {
    expect(() => new CLIPTextModel(SD1_TEXT).parameters()).toThrow(/initialize or loadStateDict/);
  });
});
