/** Full-size models are counted and compared with their released checkpoints by shape alone, without memory for a weight. */
import { CheckpointError, DataError } from "@refl/tensor";
import { describe, expect, test } from "vitest";
import { AutoencoderKL, autoencoderRename } from "../../src/models/autoencoder-kl.ts";
import { SD1_VAE_CONFIG } from "../../src/models/autoencoder-kl-config.ts";
import { AutoencoderTiny, taesdRename } from "../../src/models/autoencoder-tiny.ts";
import { BlipPretrainingModel, BlipRewardModel } from "../../src/models/blip.ts";
import { IMAGE_REWARD_CONFIG } from "../../src/models/blip-config.ts";
import { CLIPModel } from "../../src/models/clip.ts";
import { CLIP_VIT_L_14_CONFIG } from "../../src/models/clip-config.ts";
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

  test("CLIP ViT-L/14", () => {
    const model = new CLIPModel(CLIP_VIT_L_14_CONFIG);
    const shapes = model.shapes();
    expect(model.parameterCount()).toBe(427_616_513);
    expect(shapes.get("vision_model.embeddings.position_embedding.weight")).toEqual([257, 1024]);
    expect(shapes.get("vision_model.embeddings.patch_embedding.weight")).toEqual([1024, 3, 14, 14]);
    expect(shapes.get("vision_model.pre_layrnorm.weight")).toEqual([1024]);
    expect(shapes.get("visual_projection.weight")).toEqual([768, 1024]);
    expect(shapes.get("logit_scale")).toEqual([]);
    expect(new CLIPModel(model.toConfig()).config).toEqual(model.config);
  });

  test("CLIP configs as transformers wrote them", () => {
    const kept = { return_dict: true, torchscript: false, bad_words_ids: null, temperature: 1, id2label: { 0: "a" } };
    const text = { ...kept, model_type: "clip_text_model", dropout: 0, projection_dim: 768, eos_token_id: 2 };
    const vision = { ...kept, model_type: "clip_vision_model", dropout: 0, projection_dim: 768 };
    const model = new CLIPModel({
      ...kept,
      model_type: "clip",
      projection_dim: 768,
      initializer_factor: 1,
      torch_dtype: "float32",
      text_config: { ...text, hidden_size: 512, num_attention_heads: 12 },
      text_config_dict: { hidden_size: 768, intermediate_size: 3072, num_attention_heads: 12 },
      vision_config: { ...vision, ...CLIP_VIT_L_14_CONFIG.vision_config },
    });
    expect(model.parameterCount()).toBe(427_616_513);
    expect(() => new CLIPModel({ vision_config: { patch_size: 9 } }, "a.json")).toThrow(
      /a\.json: vision_config.*patch_size.*does not divide/,
    );
    expect(() => new CLIPModel({ vision_config: { patchsize: 9 } })).toThrow(/patch_size/);
  });

  test("the autoencoder of Stable Diffusion 1", () => {
    const model = new AutoencoderKL(SD1_VAE_CONFIG);
    const shapes = model.shapes();
    expect(shapes.size).toBe(248);
    expect(model.parameterCount()).toBe(83_653_863);
    expect(model.encoder.parameterCount()).toBe(34_163_592);
    expect(model.decoder.parameterCount()).toBe(49_490_179);
    expect(shapes.get("decoder.mid_block.attentions.0.to_out.0.weight")).toEqual([512, 512]);
    expect(shapes.get("decoder.up_blocks.2.resnets.0.conv_shortcut.weight")).toEqual([256, 512, 1, 1]);
    expect(new AutoencoderKL(model.toConfig()).config).toEqual(model.config);
    expect(autoencoderRename("encoder.mid_block.attentions.0.proj_attn.bias")).toBe(
      "encoder.mid_block.attentions.0.to_out.0.bias",
    );
    expect(autoencoderRename("decoder.mid_block.attentions.0.query.weight")).toBe(
      "decoder.mid_block.attentions.0.to_q.weight",
    );
  });

  test("TAESD", () => {
    const model = new AutoencoderTiny();
    const shapes = model.shapes();
    // taesd_encoder and taesd_decoder: 1,222,532 and 1,222,531 parameters.
    expect(model.encoder.parameterCount()).toBe(1_222_532);
    expect(model.decoder.parameterCount()).toBe(1_222_531);
    expect(shapes.get(taesdRename("encoder")("14.weight"))).toEqual([4, 64, 3, 3]);
    expect(shapes.get(taesdRename("decoder")("1.weight"))).toEqual([64, 4, 3, 3]);
    expect(shapes.get(taesdRename("decoder")("3.conv.0.weight"))).toEqual([64, 64, 3, 3]);
    expect(shapes.get(taesdRename("decoder")("19.bias"))).toEqual([3]);
  });

  test.each([
    ["autoencoder_kl_tiny", (config: unknown) => new AutoencoderKL(config)],
    ["autoencoder_tiny_tiny", (config: unknown) => new AutoencoderTiny(config)],
    ["clip_tiny", (config: unknown) => new CLIPModel(config)],
  ])("keys, order and shapes of %s are the reference's", (name, make) => {
    const { model, keys } = goldenConfig(name) as { model: object; keys: [string, number[]][] };
    expect([...make(model).shapes()]).toEqual(keys);
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
