/** Configs of BLIP and of the reward model from released files, which have none beside them but BERT's: sizes follow from the weights' shapes. */
import { CheckpointError } from "@refl/tensor";
import type { Checkpoint } from "../formats/checkpoint.ts";
import type { JsonObject } from "../formats/json.ts";
import { IMAGE_REWARD_CONFIG } from "./blip-config.ts";

/** Width of a head in all released vision transformers. */
const HEAD_WIDTH = 64;

/** What a released file of BLIP's pre-training has beside the model: momentum encoders, queues of negatives and the text decoder. */
export const BLIP_TRAINING_STATE: readonly RegExp[] = [
  /^(visual_encoder|text_encoder|vision_proj|text_proj)_m\./,
  /^((image|text)_queue|queue_ptr|ptr_queue)$/,
  /^text_decoder\./,
];

/**
 * The config of a file with BLIP's encoders. Head count and drop path leave no trace in shapes: heads are 64 wide, as in ViT-B and ViT-L.
 * @param text `med_config.json`; default the released one
 * @param prefix of the encoders' keys: `blip.` in `ImageReward.pt`, none in BLIP's own files
 * @throws CheckpointError when a weight that tells a size is missing or of another rank
 */
export function blipFileConfig(
  checkpoint: Checkpoint,
  text: JsonObject = { ...IMAGE_REWARD_CONFIG.text },
  prefix: "blip." | "" = "",
): JsonObject {
  const names = [...checkpoint.tensors.keys()];
  const shape = (name: string, rank: number): readonly number[] => {
    const key = `${prefix}${name}`;
    const found = checkpoint.tensors.get(key)?.shape;
    if (found?.length === rank) return found;
    const seen = found ? `is [${found.join(", ")}]` : `is not among the file's ${names.length} tensors`;
    throw new CheckpointError(checkpoint.name, `holds no BLIP encoders: ${key} ${seen}`);
  };
  const [, tokens, width] = shape("visual_encoder.pos_embed", 3) as [number, number, number];
  const [, , patch] = shape("visual_encoder.patch_embed.proj.weight", 4) as [number, number, number, number];
  const [inner] = shape("visual_encoder.blocks.0.mlp.fc1.weight", 2) as [number, number];
  const [features] = shape("vision_proj.weight", 2) as [number, number];
  const blocks = names.flatMap((name) => {
    const rest = name.startsWith(`${prefix}visual_encoder.blocks.`) ? name.slice(prefix.length) : "";
    return rest ? [Number(rest.split(".")[2])] : [];
  });
  const heads = names.flatMap((name) => {
    const layer = /^mlp\.layers\.(\d+)\.weight$/.exec(name);
    return layer ? [{ at: Number(layer[1]), out: checkpoint.tensors.get(name)!.shape[0]! }] : [];
  });
  return {
    vision: {
      image_size: Math.round(Math.sqrt(tokens - 1)) * patch,
      patch_size: patch,
      embed_dim: width,
      depth: 1 + blocks.reduce((most, block) => Math.max(most, block), 0),
      num_heads: Math.max(1, Math.round(width / HEAD_WIDTH)),
      mlp_ratio: inner / width,
    },
    text,
    embed_dim: features,
    ...(heads.length ? { head: heads.sort((a, b) => a.at - b.at).map(({ out }) => out) } : {}),
  };
}
