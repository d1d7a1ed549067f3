/** The pre-norm transformer that both towers of CLIP are made of (Radford et al. 2021, arXiv 2103.00020), under transformers' names. */
import type { Tensor } from "@refl/tensor";
import { type Activation, activationNamed } from "../nn/activation.ts";
import { multiHeadAttention } from "../nn/attention.ts";
import { Dropout } from "../nn/dropout.ts";
import { normalInit, zerosInit } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { LayerNorm } from "../nn/norm.ts";
import { inParts } from "../nn/parts.ts";

/** What both towers' configs have. */
export interface CLIPEncoderConfig {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly hidden_act: string;
  readonly layer_norm_eps: number;
  readonly attention_dropout: number;
}

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
  readonly #causal: boolean;

  constructor(config: CLIPEncoderConfig, causal: boolean) {
    super();
    const { hidden_size: width, num_attention_heads, num_hidden_layers, attention_dropout } = config;
    const inner = width ** -0.5 * (2 * num_hidden_layers) ** -0.5;
    this.k_proj = projection(width, width, inner);
    this.v_proj = projection(width, width, inner);
    this.q_proj = projection(width, width, inner);
    this.out_proj = projection(width, width, width ** -0.5);
    this.dropout = new Dropout(attention_dropout);
    this.#heads = num_attention_heads;
    this.#causal = causal;
  }

  protected override compute(x: Tensor): Tensor {
    const [q, k, v] = [this.q_proj.forward(x), this.k_proj.forward(x), this.v_proj.forward(x)];
    const looked = multiHeadAttention(q, k, v, this.#heads, { causal: this.#causal });
    return this.dropout.forward(this.out_proj.forward(looked));
  }
}

class CLIPMLP extends Module<[x: Tensor], Tensor> {
  readonly fc1: Linear;
  readonly fc2: Linear;
  readonly #activation: Activation;

  constructor(config: CLIPEncoderConfig) {
    super();
    const { hidden_size: width, intermediate_size: inner, num_hidden_layers: layers, hidden_act } = config;
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

  constructor(config: CLIPEncoderConfig, causal: boolean) {
    super();
    this.self_attn = new CLIPAttention(config, causal);
    this.layer_norm1 = new LayerNorm(config.hidden_size, config.layer_norm_eps);
    this.mlp = new CLIPMLP(config);
    this.layer_norm2 = new LayerNorm(config.hidden_size, config.layer_norm_eps);
  }

  protected override compute(x: Tensor): Tensor {
    const looked = x.add(this.self_attn.forward(this.layer_norm1.forward(x)));
    return looked.add(this.mlp.forward(this.layer_norm2.forward(looked)));
  }
}

/**
 * Layers without a final norm. x: [B, T, hidden_size] → the same shape; `causal` lets a token see itself and those before it alone. A batch whose inner
 * layers exceed the device's largest binding is worked off in parts.
 */
export class CLIPEncoder extends Module<[x: Tensor], Tensor> {
  readonly layers: readonly CLIPEncoderLayer[];
  readonly #widest: number;

  constructor(config: CLIPEncoderConfig, causal: boolean) {
    super();
    this.layers = Array.from({ length: config.num_hidden_layers }, () => new CLIPEncoderLayer(config, causal));
    this.#widest = Math.max(config.hidden_size, config.intermediate_size);
  }

  protected override compute(x: Tensor): Tensor {
    const run = (part: Tensor) => this.layers.reduce((hidden, layer) => this.part(layer, hidden), part);
    return inParts([x], x.shape[1]! * this.#widest, run);
  }
}
