/** Model sizes of the built-in tasks: small configs of the classes that Stable Diffusion and ImageReward use. */
import type { PictureTask } from "./data/task.ts";

/** Config JSON of every model of a task, as the model folders hold it. */
export interface ModelPreset {
  readonly unet: Readonly<Record<string, unknown>>;
  readonly textEncoder: Readonly<Record<string, unknown>>;
  readonly codec: Readonly<Record<string, unknown>>;
  readonly scheduler: Readonly<Record<string, unknown>>;
  /** BLIP for pre-training; the reward model's config is this and `rewardHead`. */
  readonly blip: Readonly<Record<string, unknown>>;
  readonly rewardHead: Readonly<Record<string, unknown>>;
  readonly classifier: Readonly<Record<string, unknown>>;
}

/** Text length in tokens, [CLS] and [SEP] included. */
export const textLength = (task: Pick<PictureTask, "maxWords">): number => task.maxWords + 2;

// x0-prediction with a cosine schedule: with v- or ε-prediction models of this size draw coloured noise (docs/architecture.md says why).
const scheduler = {
  _class_name: "DDIMScheduler",
  num_train_timesteps: 1000,
  beta_schedule: "squaredcos_cap_v2",
  prediction_type: "sample",
  clip_sample: true,
  set_alpha_to_one: true,
  steps_offset: 0,
  timestep_spacing: "trailing",
};

/** The preset of a task. `words` is the tokenizer's size, special tokens included. */
export function modelPreset(task: Pick<PictureTask, "name" | "size" | "maxWords">, words: number): ModelPreset {
  const length = textLength(task);
  const quick = task.name === "shapes16";
  const text = {
    vocab_size: words,
    hidden_act: "quick_gelu",
    max_position_embeddings: length,
    layer_norm_eps: 1e-5,
    bos_token_id: 2,
    eos_token_id: 3,
    pad_token_id: 0,
  };
  const bert = {
    vocab_size: words,
    max_position_embeddings: length,
    hidden_act: "gelu",
    layer_norm_eps: 1e-12,
    hidden_dropout_prob: 0,
  };
  return {
    unet: {
      sample_size: task.size / 2,
      in_channels: 12,
      out_channels: 12,
      block_out_channels: quick ? [32, 48] : [32, 48, 64],
      down_block_types: quick
        ? ["CrossAttnDownBlock2D", "DownBlock2D"]
        : ["DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
      mid_block_type: "UNetMidBlock2DCrossAttn",
      up_block_types: quick ? ["UpBlock2D", "CrossAttnUpBlock2D"] : ["UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
      layers_per_block: 1,
      attention_head_dim: 4,
      cross_attention_dim: quick ? 32 : 64,
      norm_num_groups: 8,
      norm_eps: 1e-5,
      act_fn: "silu",
      flip_sin_to_cos: true,
      freq_shift: 0,
    },
    textEncoder: quick
      ? { ...text, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 4 }
      : { ...text, hidden_size: 64, intermediate_size: 128, num_hidden_layers: 1, num_attention_heads: 4 },
    codec: { factor: 2 },
    scheduler,
    blip: {
      vision: quick
        ? { image_size: task.size, patch_size: 2, embed_dim: 32, depth: 2, num_heads: 4 }
        : { image_size: task.size, patch_size: 4, embed_dim: 64, depth: 3, num_heads: 4 },
      text: quick
        ? { ...bert, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4 }
        : { ...bert, hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 4 },
      embed_dim: 32,
      max_length: length,
    },
    rewardHead: { head: quick ? [32, 16, 8, 4, 1] : [64, 32, 16, 8, 1], head_dropout: [0, 0, 0] },
    classifier: { channels: quick ? [16, 32, 48] : [24, 48, 64] },
  };
}
