/** Text pooled into the time embedding (diffusers `TextTimeEmbedding`, config `addition_embed_type: "text"`): conditions blocks that have no attention. */
import { cat, type Tensor } from "@refl/tensor";
import { multiHeadAttention } from "../nn/attention.ts";
import { normalInit } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { LayerNorm } from "../nn/norm.ts";
import { ParameterSlot } from "../nn/slot.ts";

/** One query, the mean of the states plus a learnt vector, looks at itself and at all states. [B, S, width] → [B, width]. */
export class AttentionPooling extends Module<[states: Tensor], Tensor> {
  readonly positional_embedding: ParameterSlot;
  readonly k_proj: Linear;
  readonly q_proj: Linear;
  readonly v_proj: Linear;
  readonly #heads: number;

  constructor(heads: number, width: number) {
    super();
    this.positional_embedding = new ParameterSlot([1, width], normalInit(1 / Math.sqrt(width)));
    this.k_proj = new Linear(width, width);
    this.q_proj = new Linear(width, width);
    this.v_proj = new Linear(width, width);
    this.#heads = heads;
  }

  protected override compute(states: Tensor): Tensor {
    const token = states.mean(1, true).add(this.positional_embedding.value);
    const all = cat([token, states], 1);
    const [q, k, v] = [this.q_proj.forward(token), this.k_proj.forward(all), this.v_proj.forward(all)];
    return multiHeadAttention(q, k, v, this.#heads).squeeze(1);
  }
}

/** norm, pool, project, norm. [B, S, encoderWidth] → [B, timeChannels]. */
export class TextTimeEmbedding extends Module<[states: Tensor], Tensor> {
  readonly norm1: LayerNorm;
  readonly pool: AttentionPooling;
  readonly proj: Linear;
  readonly norm2: LayerNorm;

  constructor(encoderWidth: number, timeChannels: number, heads: number) {
    super();
    this.norm1 = new LayerNorm(encoderWidth, 1e-5);
    this.pool = new AttentionPooling(heads, encoderWidth);
    this.proj = new Linear(encoderWidth, timeChannels);
    this.norm2 = new LayerNorm(timeChannels, 1e-5);
  }

  protected override compute(states: Tensor): Tensor {
    return this.norm2.forward(this.proj.forward(this.pool.forward(this.norm1.forward(states))));
  }
}
