/** CLIP's text encoder (Radford et al. 2021, arXiv 2103.00020) under transformers' names. */
import { argmax, embedding, ShapeError, type Tensor, tensor } from "@refl/tensor";
import type { JsonObject } from "../formats/json.ts";
import { Embedding } from "../nn/embedding.ts";
import { normalInit } from "../nn/init.ts";
import { Module } from "../nn/module.ts";
import { LayerNorm } from "../nn/norm.ts";
import { CLIPEncoder } from "./clip-encoder.ts";
import { type CLIPTextConfig, parseCLIPTextConfig } from "./clip-text-config.ts";

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

/** The eos id of released configs from before transformers 4.31, whatever the tokenizer's is: the end is then the largest id of a text. */
const LEGACY_EOS = 2;

/** ids: [B, T] i32 → the last hidden states after the final norm, [B, T, hidden_size]. */
export class CLIPTextTransformer extends Module<[ids: Tensor], Tensor> {
  readonly embeddings: CLIPTextEmbeddings;
  readonly encoder: CLIPEncoder;
  readonly final_layer_norm: LayerNorm;
  readonly #eos: number | null;

  constructor(config: CLIPTextConfig) {
    super();
    this.embeddings = new CLIPTextEmbeddings(config);
    this.encoder = new CLIPEncoder(config, true);
    this.final_layer_norm = new LayerNorm(config.hidden_size, config.layer_norm_eps);
    this.#eos = config.eos_token_id;
  }

  protected override compute(ids: Tensor): Tensor {
    if (ids.rank !== 2) throw new ShapeError("CLIPTextModel", [ids.shape], "ids must be [B, tokens]");
    return this.final_layer_norm.forward(this.encoder.forward(this.embeddings.forward(ids)));
  }

  /** The state of each text's end token: the first `eos_token_id`, or the largest id where that is 2 or null. states: [B, T, W] → [B, W]. */
  pooled(states: Tensor, ids: Tensor): Tensor {
    return this.run(() => {
      const [batch, tokens, width] = states.shape as [number, number, number];
      const ends = this.#eos === null || this.#eos === LEGACY_EOS ? ids : ids.eq(this.#eos).to("i32");
      const rows = tensor(
        states.device,
        Int32Array.from({ length: batch }, (_, i) => i * tokens),
      );
      return embedding(states.reshape(batch * tokens, width), argmax(ends, 1).add(rows));
    });
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
    return this.text_model.forward(ids);
  }
}
