/** CLIP's text encoder (Radford et al. 2021, arXiv 2103.00020) under transformers' names. */
import { ShapeError, type Tensor } from "@refl/tensor";
import type { JsonObject } from "../formats/json.ts";
import { type Activation, activationNamed } from "../nn/activation.ts";
import { multiHeadAttention } from "../nn/attention.ts";
import { Dropout } from "../nn/dropout.ts";
import { Embedding } from "../nn/embedding.ts";
import { normalInit, zerosInit } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { LayerNorm } from "../nn/norm.ts";
import { type CLIPTextConfig, parseCLIPTextConfig } from "./clip-text-config.ts";

/** A linear layer with transformers' initial values for CLIP: N(0, std²) and zero bias. */
function projection(inFeatures: number, outFeatures: number, std: number): Linear {
  return new Linear(inFeatures, outFeatures, { weightInit: normalInit(std), biasInit: zerosInit });
}

class CLIPAttention extends Module<[x: Tensor], Tensor> {
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly q_proj: Linear;
  readonly out_proj: Linear;
  readonly dropout: Dropout;
  readonly #heads: number;

  constructor({ hidden_size: width, num_attention_heads, num_hidden_layers, attention_dropout }: CLIPTextConfig) {
    super();
    const inner = width ** -0.5 * (2 * num_hidden_layers) ** -0.5;
    this.k_proj = projection(width, width, inner);
    this.v_proj = projection(width, width, inner);
    this.q_proj = projection(width, width, inner);
    this.out_proj = projection(width, width, width ** -0.5);
    this.dropout = new Dropout(attention_dropout);
    this.#heads = num_attention_heads;
  }

  protected override compute(x: Tensor): Tensor {
    const [q, k, v] = [this.q_proj.forward(x), this.k_proj.forward(x), this.v_proj.forward(x)];
    return this.dropout.forward(this.out_proj.forward(multiHeadAttention(q, k, v, this.#heads, { causal: true })));
  }
}

class CLIPMLP extends Module<[x: Tensor], Tensor> {
  readonly fc1: Linear;
  readonly fc2: Linear;
  readonly #activation: Activation;

  constructor({ hidden_size: width, intermediate_size: inner, num_hidden_layers: layers, hidden_act }: CLIPTextConfig) {
    super();
    this.fc1 = projection(width, inner, (2 * width) ** -0.5);
    this.fc2 = projection(inner, width, width ** -0.5 * (2 * layers) ** -0.5);
    this.#activation = activationNamed(hidden_act, "config.json", "hidden_act");
  }

  protected override compute(x: Tensor): Tensor {
    return this.fc2.forward(this.fc1.forward(x, this.#activation));
  }
}

class CLIPEncoderLayer extends Module<[x: Tensor], Tensor> {
  readonly self_attn: CLIPAttention;
  readonly layer_norm1: LayerNorm;
  readonly mlp: CLIPMLP;
  readonly layer_norm2: LayerNorm;

  constructor(config: CLIPTextConfig) {
    super();
    this.self_attn = new CLIPAttention(config);
    this.layer_norm1 = new LayerNorm(config.hidden_size, config.layer_norm_eps);
    this.mlp = new CLIPMLP(config);
    this.layer_norm2 = new LayerNorm(config.hidden_size, config.layer_norm_eps);
  }

  protected override compute(x: Tensor): Tensor {
    const looked = x.add(this.self_attn.forward(this.layer_norm1.forward(x)));
    return looked.add(this.mlp.forward(this.layer_norm2.forward(looked)));
  }
}

class CLIPEncoder extends Module<[x: Tensor], Tensor> {
  readonly layers: readonly CLIPEncoderLayer[];

  constructor(config: CLIPTextConfig) {
    super();
    this.layers = Array.from({ length: config.num_hidden_layers }, () => new CLIPEncoderLayer(config));
  }

  protected override compute(x: Tensor): Tensor {
    return this.layers.reduce((hidden, layer) => layer.forward(hidden), x);
  }
}

class CLIPTextEmbeddings extends Module<[ids: Tensor], Tensor> {
  readonly token_embedding: Embedding;
  readonly position_embedding: Embedding;

  constructor({ vocab_size, max_position_embeddings, hidden_size }: CLIPTextConfig) {
    super();
    this.token_embedding = new Embedding(vocab_size, hidden_size, normalInit(0.02));
    this.position_embedding = new Embedding(max_position_embeddings, hidden_size, normalInit(0.02));
  }

  protected override compute(ids: Tensor): Tensor {
    return this.token_embedding.forward(ids).add(this.position_embedding.first(ids.shape[1]!));
  }
}

class CLIPTextTransformer extends Module<[ids: Tensor], Tensor> {
  readonly embeddings: CLIPTextEmbeddings;
  readonly encoder: CLIPEncoder;
  readonly final_layer_norm: LayerNorm;

  constructor(config: CLIPTextConfig) {
    super();
    this.embeddings = new CLIPTextEmbeddings(config);
    this.encoder = new CLIPEncoder(config);
    this.final_layer_norm = new LayerNorm(config.hidden_size, config.layer_norm_eps);
  }

  protected override compute(ids: Tensor): Tensor {
    return this.final_layer_norm.forward(this.encoder.forward(this.embeddings.forward(ids)));
  }
}

/**
 * A causal pre-norm transformer. ids: [B, T] i32, T up to `max_position_embeddings` → the last hidden states after the final norm, [B, T, hidden_size].
 * Padding is not masked, as Stable Diffusion has it.
 */
export class CLIPTextModel extends Module<[ids: Tensor], Tensor> {
  readonly config: CLIPTextConfig;
  readonly text_model: CLIPTextTransformer;

  /**
   * @param config fields of `text_encoder/config.json`; those left out take transformers' defaults
   * @throws DataError naming `file` and the field
   */
  constructor(config: unknown = {}, file = "text_encoder/config.json") {
    super();
    this.config = parseCLIPTextConfig(config, file);
    this.text_model = new CLIPTextTransformer(this.config);
  }

  /** `text_encoder/config.json` as transformers reads it. */
  toConfig(): JsonObject {
    return { architectures: ["CLIPTextModel"], model_type: "clip_text_model", ...this.config };
  }

  protected override compute(ids: Tensor): Tensor {
    if (ids.rank !== 2) throw new ShapeError("CLIPTextModel", [ids.shape], "ids must be [B, tokens]");
    return this.text_model.forward(ids);
  }
}
