/** CLIP's released files (`ViT-L-14.pt`): OpenAI's names of the weights seen as transformers' `CLIPModel`, and the config that follows from their shapes. */
import { CheckpointError } from "@refl/tensor";
import { type Checkpoint, makeCheckpoint, type TensorHeader } from "./checkpoint.ts";
import type { JsonObject } from "./json.ts";
import { dtypeSize } from "./safetensors.ts";
import { readStrided } from "./strided.ts";

const MARK = "visual.transformer.resblocks.0.attn.in_proj_weight";
const RESNET_MARK = "visual.layer1.0.conv1.weight";

/** Wrappers before the names: none in the released files, a module's field in a state dict of ImageReward's own CLIP scorer. */
const PREFIXES = ["", "clip_model."] as const;

/** Sizes that a TorchScript file keeps as tensors, and the causal mask. */
const PASSED_OVER = /^(input_resolution|context_length|vocab_size|.*attn_mask)$/;

/** Width of a head in all released CLIPs. */
const HEAD_WIDTH = 64;

const ENDS: Readonly<Record<string, string>> = {
  logit_scale: "logit_scale",
  positional_embedding: "text_model.embeddings.position_embedding.weight",
  "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
  "ln_final.weight": "text_model.final_layer_norm.weight",
  "ln_final.bias": "text_model.final_layer_norm.bias",
  text_projection: "text_projection.weight",
  "visual.class_embedding": "vision_model.embeddings.class_embedding",
  "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
  "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
  "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
  "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
  "visual.ln_post.weight": "vision_model.post_layernorm.weight",
  "visual.ln_post.bias": "vision_model.post_layernorm.bias",
  "visual.proj": "visual_projection.weight",
};

const LAYER: Readonly<Record<string, string>> = {
  "attn.out_proj": "self_attn.out_proj",
  ln_1: "layer_norm1",
  ln_2: "layer_norm2",
  "mlp.c_fc": "mlp.fc1",
  "mlp.c_proj": "mlp.fc2",
};

/** The features of a picture and a text are rows times these, transformers' are linear layers. */
const TRANSPOSED: ReadonlySet<string> = new Set(["text_projection", "visual.proj"]);

/** A tensor as part of a stored one: a third of its rows, or its transpose. */
interface Source {
  readonly from: string;
  readonly shape: readonly number[];
  readonly third?: 0 | 1 | 2;
  readonly transposed?: true;
}

function prefixOf(checkpoint: Checkpoint): string | undefined {
  return PREFIXES.find(
    (prefix) => checkpoint.tensors.has(prefix + MARK) || checkpoint.tensors.has(prefix + RESNET_MARK),
  );
}

/** Whether the names are those of OpenAI's CLIP. */
export function isOpenAIClip(checkpoint: Checkpoint): boolean {
  return prefixOf(checkpoint) !== undefined;
}

function sourcesOf(name: string, from: string, shape: readonly number[]): readonly (readonly [string, Source])[] {
  if (Object.hasOwn(ENDS, name)) {
    const turned = TRANSPOSED.has(name) && shape.length === 2;
    return [[ENDS[name]!, turned ? { from, shape: shape.toReversed(), transposed: true } : { from, shape }]];
  }
  const [, visual, layer, inner = ""] = /^(visual\.)?transformer\.resblocks\.(\d+)\.(.+)$/.exec(name) ?? [];
  if (layer === undefined) return [];
  const to = `${visual ? "vision" : "text"}_model.encoder.layers.${layer}.`;
  const packed = /^attn\.in_proj_(weight|bias)$/.exec(inner)?.[1];
  if (packed !== undefined && shape[0]! % 3 === 0) {
    const third = shape.with(0, shape[0]! / 3);
    return (["q", "k", "v"] as const).map((part, i) => [
      `${to}self_attn.${part}_proj.${packed}`,
      { from, shape: third, third: i as 0 | 1 | 2 },
    ]);
  }
  const dot = inner.lastIndexOf(".");
  const [path, end] = [inner.slice(0, dot), inner.slice(dot + 1)];
  const known = Object.hasOwn(LAYER, path) && (end === "weight" || end === "bias");
  return known ? [[`${to}${LAYER[path]}.${end}`, { from, shape }]] : [];
}

/**
 * A released CLIP as `CLIPModel` names its weights: q, k and v are the thirds of a packed projection, the projections into the common space are transposed.
 * Closing it closes the file.
 * @throws CheckpointError when it is none, has a ResNet for its picture side, or has tensors that belong nowhere
 */
export function openAIClip(checkpoint: Checkpoint): Checkpoint {
  const file = checkpoint.name;
  const prefix = prefixOf(checkpoint);
  if (prefix === undefined) throw new CheckpointError(file, `has no ${MARK}: it is no CLIP file of OpenAI's`);
  if (checkpoint.tensors.has(prefix + RESNET_MARK)) {
    throw new CheckpointError(
      file,
      `has ${prefix}${RESNET_MARK}: the picture side is a ResNet; those with a ViT can be read`,
    );
  }
  const sources = new Map<string, Source>();
  const unexpected: string[] = [];
  for (const { name, shape } of checkpoint.tensors.values()) {
    const short = name.startsWith(prefix) ? name.slice(prefix.length) : name;
    if (PASSED_OVER.test(short)) continue;
    const found = name.startsWith(prefix) ? sourcesOf(short, name, shape) : [];
    for (const [to, source] of found) sources.set(to, source);
    if (found.length === 0) unexpected.push(name);
  }
  if (unexpected.length > 0) {
    const text = `${unexpected.length} tensors are none of CLIP: ${unexpected.slice(0, 6).join(", ")}`;
    throw new CheckpointError(file, text, { unexpected });
  }
  const headers = [...sources].map(([name, { from, shape }]): [string, TensorHeader] => [
    name,
    { name, dtype: checkpoint.tensors.get(from)!.dtype, shape },
  ]);
  return makeCheckpoint({
    name: file,
    format: checkpoint.format,
    metadata: checkpoint.metadata,
    tensors: new Map(headers),
    async read({ name, dtype, shape }, into) {
      const { from, third, transposed } = sources.get(name)!;
      if (third === undefined && !transposed) return (await checkpoint.read(from, into)).bytes;
      const { bytes } = await checkpoint.read(from);
      if (third !== undefined) return bytes.subarray((third * bytes.length) / 3, ((third + 1) * bytes.length) / 3);
      const view = { shape, strides: [1, shape[0]!], offset: 0, elementSize: dtypeSize(dtype) };
      return readStrided(view, async (offset, length) => bytes.subarray(offset, offset + length));
    },
    close: () => checkpoint.close(),
  });
}

/**
 * `config.json` of a released CLIP, by its shapes. Head count leaves no trace in them: heads are 64 wide in all releases.
 * @param clip as {@link openAIClip} gives it
 * @throws CheckpointError when a weight that tells a size is missing
 */
export function openAIClipConfig(clip: Checkpoint): JsonObject {
  const shape = (name: string): readonly number[] => {
    const found = clip.tensors.get(name);
    if (!found)
      throw new CheckpointError(clip.name, `has no ${name} by which to tell CLIP's size`, { missing: [name] });
    return found.shape;
  };
  const tower = (kind: "text" | "vision"): JsonObject => {
    const layers = [...clip.tensors.keys()].flatMap((name) => {
      const layer = new RegExp(`^${kind}_model\\.encoder\\.layers\\.(\\d+)\\.`).exec(name)?.[1];
      return layer === undefined ? [] : [Number(layer)];
    });
    const [inner = 0, width = 0] = shape(`${kind}_model.encoder.layers.0.mlp.fc1.weight`);
    return {
      hidden_size: width,
      intermediate_size: inner,
      num_hidden_layers: 1 + layers.reduce((most, layer) => Math.max(most, layer), 0),
      num_attention_heads: Math.max(1, Math.floor(width / HEAD_WIDTH)),
    };
  };
  const [words = 0] = shape("text_model.embeddings.token_embedding.weight");
  const [positions = 0] = shape("text_model.embeddings.position_embedding.weight");
  const [tokens = 0] = shape("vision_model.embeddings.position_embedding.weight");
  const patch = shape("vision_model.embeddings.patch_embedding.weight").at(-1) ?? 0;
  return {
    projection_dim: shape("visual_projection.weight")[0] ?? 0,
    // The end of a text is its largest id, which transformers' configs of these files say by 2.
    text_config: { ...tower("text"), vocab_size: words, max_position_embeddings: positions, eos_token_id: 2 },
    vision_config: { ...tower("vision"), image_size: Math.round(Math.sqrt(tokens - 1)) * patch, patch_size: patch },
  };
}
