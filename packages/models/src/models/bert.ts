/** BLIP's text encoder: BERT with cross-attention to an image in every layer (BLIP's `med.py`), under its names. */
import { ShapeError, type Tensor } from "@refl/tensor";
import * as v from "valibot";
import { type Activation, activationNamed } from "../nn/activation.ts";
import { multiHeadAttention } from "../nn/attention.ts";
import { Dropout } from "../nn/dropout.ts";
import { Embedding } from "../nn/embedding.ts";
import { normalInit, zerosInit } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { LayerNorm } from "../nn/norm.ts";
import { inParts } from "../nn/parts.ts";
import { count, epsilon, probability } from "./fields.ts";

/** The `text` part of a BLIP config: the fields of `med_config.json`. */
export const textSchema = v.strictObject({
  vocab_size: count,
  hidden_size: count,
  num_hidden_layers: count,
  num_attention_heads: count,
  intermediate_size: count,
  max_position_embeddings: count,
  hidden_act: v.optional(v.string(), "gelu"),
  layer_norm_eps: v.optional(epsilon, 1e-12),
  hidden_dropout_prob: v.optional(probability, 0),
  initializer_range: v.optional(v.pipe(v.number(), v.gtValue(0)), 0.02),
  pad_token_id: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 0),
  // Fields of `med_config.json` that change nothing here: the cross-attention takes its width from the vision tower, token types have no table,
  // and attention weights, which are never in memory as a whole, get no dropout.
  add_cross_attention: v.optional(v.literal(true)),
  architectures: v.optional(v.array(v.string())),
  attention_probs_dropout_prob: v.optional(probability),
  encoder_width: v.optional(count),
  model_type: v.optional(v.literal("bert")),
  type_vocab_size: v.optional(count),
});

export type TextConfig = v.InferOutput<typeof textSchema>;

class BertEmbeddings extends Module<[ids: Tensor], Tensor> {
  readonly word_embeddings: Embedding;
  readonly position_embeddings: Embedding;
  readonly LayerNorm: LayerNorm;
  readonly dropout: Dropout;

  constructor(config: TextConfig) {
    super();
    const init = normalInit(config.initializer_range);
    const words = { paddingIndex: config.pad_token_id };
    this.word_embeddings = new Embedding(config.vocab_size, config.hidden_size, init, words);
    this.position_embeddings = new Embedding(config.max_position_embeddings, config.hidden_size, init);
    this.LayerNorm = new LayerNorm(config.hidden_size, config.layer_norm_eps);
    this.dropout = new Dropout(config.hidden_dropout_prob);
  }

  /** Words and positions; token types have no table, though the config names two. */
  protected override compute(ids: Tensor): Tensor {
    const sum = this.word_embeddings.forward(ids).add(this.position_embeddings.first(ids.shape[1]!));
    return this.dropout.forward(this.LayerNorm.forward(sum));
  }
}

function linear(config: TextConfig, inFeatures: number, outFeatures: number): Linear {
  return new Linear(inFeatures, outFeatures, {
    weightInit: normalInit(config.initializer_range),
    biasInit: zerosInit,
  });
}

class BertSelfAttention extends Module<[x: Tensor, context: Tensor | null, mask: Tensor | null], Tensor> {
  readonly query: Linear;
  readonly key: Linear;
  readonly value: Linear;
  readonly #heads: number;

  constructor(config: TextConfig, contextWidth: number) {
    super();
    this.query = linear(config, config.hidden_size, config.hidden_size);
    this.key = linear(config, contextWidth, config.hidden_size);
    this.value = linear(config, contextWidth, config.hidden_size);
    this.#heads = config.num_attention_heads;
  }

  protected override compute(x: Tensor, context: Tensor | null, mask: Tensor | null): Tensor {
    const seen = context ?? x;
    const [q, k, v] = [this.query.forward(x), this.key.forward(seen), this.value.forward(seen)];
    return multiHeadAttention(q, k, v, this.#heads, { mask });
  }
}

/** LN(residual + dropout(dense(x))): how attention and feed-forward end. */
class BertOutput extends Module<[x: Tensor, residual: Tensor], Tensor> {
  readonly dense: Linear;
  readonly LayerNorm: LayerNorm;
  readonly dropout: Dropout;

  constructor(config: TextConfig, inFeatures: number) {
    super();
    this.dense = linear(config, inFeatures, config.hidden_size);
    this.LayerNorm = new LayerNorm(config.hidden_size, config.layer_norm_eps);
    this.dropout = new Dropout(config.hidden_dropout_prob);
  }

  protected override compute(x: Tensor, residual: Tensor): Tensor {
    return this.LayerNorm.forward(residual.add(this.dropout.forward(this.dense.forward(x))));
  }
}

class BertAttention extends Module<[x: Tensor, context: Tensor | null, mask: Tensor | null], Tensor> {
  readonly self: BertSelfAttention;
  readonly output: BertOutput;

  constructor(config: TextConfig, contextWidth: number) {
    super();
    this.self = new BertSelfAttention(config, contextWidth);
    this.output = new BertOutput(config, config.hidden_size);
  }

  protected override compute(x: Tensor, context: Tensor | null, mask: Tensor | null): Tensor {
    return this.output.forward(this.self.forward(x, context, mask), x);
  }
}

class BertIntermediate extends Module<[x: Tensor], Tensor> {
  readonly dense: Linear;
  readonly #activation: Activation;

  constructor(config: TextConfig) {
    super();
    this.dense = linear(config, config.hidden_size, config.intermediate_size);
    this.#activation = activationNamed(config.hidden_act, "config.json", "text.hidden_act");
  }

  protected override compute(x: Tensor): Tensor {
    return this.dense.forward(x, this.#activation);
  }
}

class BertLayer extends Module<[x: Tensor, mask: Tensor | null, image: Tensor | null], Tensor> {
  readonly attention: BertAttention;
  readonly crossattention: BertAttention;
  readonly intermediate: BertIntermediate;
  readonly output: BertOutput;

  constructor(config: TextConfig, imageWidth: number) {
    super();
    this.attention = new BertAttention(config, config.hidden_size);
    this.crossattention = new BertAttention(config, imageWidth);
    this.intermediate = new BertIntermediate(config);
    this.output = new BertOutput(config, config.intermediate_size);
  }

  protected override compute(x: Tensor, mask: Tensor | null, image: Tensor | null): Tensor {
    const looked = this.attention.forward(x, null, mask);
    const read = image ? this.crossattention.forward(looked, image, null) : looked;
    return this.output.forward(this.intermediate.forward(read), read);
  }
}

class BertEncoder extends Module<[x: Tensor, mask: Tensor | null, image: Tensor | null], Tensor> {
  readonly layer: readonly BertLayer[];
  readonly #config: TextConfig;

  constructor(config: TextConfig, imageWidth: number) {
    super();
    this.layer = Array.from({ length: config.num_hidden_layers }, () => new BertLayer(config, imageWidth));
    this.#config = config;
  }

  protected override compute(x: Tensor, mask: Tensor | null, image: Tensor | null): Tensor {
    const { hidden_size: width, intermediate_size: inner } = this.#config;
    const widest = Math.max(x.shape[1]! * Math.max(width, inner), (image?.shape[1] ?? 0) * width);
    return inParts([x, mask, image], widest, (part, shown, picture) =>
      this.layer.reduce((hidden, layer) => this.part(layer, hidden, shown, picture), part),
    );
  }
}

/**
 * A bidirectional post-norm transformer without pooler. ids: [B, T] i32, mask: [B, T] i32 (0 hides a token), image: [B, tokens, imageWidth] in mode
 * `multimodal`, null in mode `text`, which skips cross-attention → [B, T, hidden_size].
 */
export class BertModel extends Module<[ids: Tensor, mask: Tensor | null, image: Tensor | null], Tensor> {
  readonly config: TextConfig;
  readonly imageWidth: number;
  readonly embeddings: BertEmbeddings;
  readonly encoder: BertEncoder;

  constructor(config: TextConfig, imageWidth: number) {
    super();
    this.config = config;
    this.imageWidth = imageWidth;
    this.embeddings = new BertEmbeddings(config);
    this.encoder = new BertEncoder(config, imageWidth);
  }

  protected override compute(ids: Tensor, mask: Tensor | null, image: Tensor | null): Tensor {
    if (ids.rank !== 2 || (mask && mask.shape.join() !== ids.shape.join())) {
      throw new ShapeError(
        "BertModel",
        mask ? [ids.shape, mask.shape] : [ids.shape],
        "ids and mask must be [B, tokens]",
      );
    }
    if (image && (image.rank !== 3 || image.shape[0] !== ids.shape[0] || image.shape[2] !== this.imageWidth)) {
      throw new ShapeError("BertModel", [ids.shape, image.shape], `the image must be [B, tokens, ${this.imageWidth}]`);
    }
    return this.encoder.forward(this.embeddings.forward(ids), mask, image);
  }
}
