/** Stable Diffusion 1 in one file, as CompVis' latent-diffusion code names its weights, seen as diffusers' UNet, autoencoder and text encoder. */
import { CheckpointError } from "@refl/tensor";
import { type Checkpoint, makeCheckpoint, type TensorHeader } from "./checkpoint.ts";
import { clipTextRename, POSITION_IDS } from "./state-dict.ts";

const UNET = "model.diffusion_model.";
const VAE = "first_stage_model.";
const TEXT = "cond_stage_model.transformer.";
const EMA = "model_ema.";

/** What such files hold beside weights: schedules, losses, counters, and averages under names of their own. */
const PASSED_OVER: readonly RegExp[] = [
  /^model_ema\./,
  /^(betas|alphas_cumprod|alphas_cumprod_prev|logvar|lvlb_weights|scale_factor)$/,
  /^(sqrt|log|posterior)_\w+$/,
  /^first_stage_model\.loss\./,
  /^(loss|state_dict)\./,
];

const LISTED = 6;

export interface LdmOptions {
  /** Take the UNet's averaged weights (`model_ema.…`) instead of its last ones. Default false. */
  readonly ema?: boolean;
  /** Residual blocks for each resolution of the UNet. Default 2, as in Stable Diffusion 1. */
  readonly layersPerBlock?: number;
}

/** Views of one file: reading from them reads the file. Closing any of them closes the file. */
export interface LdmComponents {
  /** Names of diffusers' `UNet2DConditionModel`. */
  readonly unet: Checkpoint;
  /** Names of diffusers' `AutoencoderKL`, its attention as `to_q`, `to_k`, `to_v`, `to_out.0`. */
  readonly vae: Checkpoint;
  /** Names of transformers' `CLIPTextModel`, with the `text_model.` prefix. */
  readonly textEncoder: Checkpoint;
}

/** Whether the names are those of a Stable Diffusion file of latent-diffusion's code. */
export function isLdmCheckpoint(checkpoint: Checkpoint): boolean {
  return checkpoint.tensors.has(`${UNET}time_embed.0.weight`);
}

/**
 * Splits a Stable Diffusion 1 file into its components, by name only.
 * @throws CheckpointError when it is none, holds another text encoder, lacks the averages that were asked for, or has tensors that belong nowhere.
 */
export function splitLdmCheckpoint(checkpoint: Checkpoint, options: LdmOptions = {}): LdmComponents {
  const { ema = false, layersPerBlock = 2 } = options;
  const file = checkpoint.name;
  if (!isLdmCheckpoint(checkpoint)) {
    throw new CheckpointError(file, `has no ${UNET}time_embed.0.weight: it is no Stable Diffusion checkpoint`);
  }
  const names = [...checkpoint.tensors.keys()];
  const foreign = names.find((name) => /^(cond_stage_model\.model|conditioner)\./.test(name));
  if (foreign) {
    throw new CheckpointError(
      file,
      `has ${foreign}: a text encoder of Stable Diffusion 2 or XL; version 1 can be read`,
    );
  }
  const levels =
    1 + Math.max(-1, ...names.map((name) => Number(/^first_stage_model\.decoder\.up\.(\d+)\./.exec(name)?.[1] ?? -1)));
  const parts = {
    unet: new Map<string, Source>(),
    vae: new Map<string, Source>(),
    textEncoder: new Map<string, Source>(),
  };
  const unexpected: string[] = [];
  const take = (part: keyof typeof parts, to: string | undefined, name: string, from = name): void => {
    const header = checkpoint.tensors.get(from);
    if (!header) throw new CheckpointError(file, `has no average ${from}: open it without ema`, { missing: [from] });
    if (to === undefined || parts[part].has(to)) unexpected.push(name);
    else parts[part].set(to, { from, shape: part === "vae" ? vaeShape(to, header.shape) : header.shape });
  };
  for (const name of names) {
    if (PASSED_OVER.some((pattern) => pattern.test(name))) continue;
    if (name.startsWith(UNET)) {
      const from = ema ? EMA + name.slice("model.".length).replaceAll(".", "") : name;
      take("unet", ldmUnetName(name.slice(UNET.length), layersPerBlock), name, from);
    } else if (name.startsWith(VAE)) take("vae", ldmVaeName(name.slice(VAE.length), levels), name);
    else if (name.startsWith(TEXT)) {
      const to = clipTextRename(name.slice(TEXT.length));
      if (!POSITION_IDS.test(to)) take("textEncoder", to, name);
    } else unexpected.push(name);
  }
  if (unexpected.length > 0) {
    const more = unexpected.length > LISTED ? `, … and ${unexpected.length - LISTED} more` : "";
    const text = `${unexpected.length} tensors are none of Stable Diffusion 1: ${unexpected.slice(0, LISTED).join(", ")}${more}`;
    throw new CheckpointError(file, text, { unexpected });
  }
  return {
    unet: renamed(checkpoint, parts.unet),
    vae: renamed(checkpoint, parts.vae),
    textEncoder: renamed(checkpoint, parts.textEncoder),
  };
}

/** The autoencoder of a file of its own, whose names are those of the whole without the prefix, as released fine-tuned autoencoders have them. */
export function ldmAutoencoder(checkpoint: Checkpoint): Checkpoint {
  const names = [...checkpoint.tensors.keys()].filter((name) => !PASSED_OVER.some((pattern) => pattern.test(name)));
  const levels = 1 + Math.max(-1, ...names.map((name) => Number(/^decoder\.up\.(\d+)\./.exec(name)?.[1] ?? -1)));
  const parts = new Map<string, Source>();
  for (const name of names) {
    const to = ldmVaeName(name, levels);
    if (to === undefined) {
      throw new CheckpointError(checkpoint.name, `${name} is no tensor of an autoencoder`, { unexpected: [name] });
    }
    parts.set(to, { from: name, shape: vaeShape(to, checkpoint.tensors.get(name)!.shape) });
  }
  return renamed(checkpoint, parts);
}

interface Source {
  readonly from: string;
  readonly shape: readonly number[];
}

function renamed(checkpoint: Checkpoint, parts: ReadonlyMap<string, Source>): Checkpoint {
  const headers = [...parts].map(([name, { from, shape }]): [string, TensorHeader] => [
    name,
    { name, dtype: checkpoint.tensors.get(from)!.dtype, shape },
  ]);
  return makeCheckpoint({
    name: checkpoint.name,
    format: checkpoint.format,
    metadata: checkpoint.metadata,
    tensors: new Map(headers),
    read: async ({ name }, into) => (await checkpoint.read(parts.get(name)!.from, into)).bytes,
    close: () => checkpoint.close(),
  });
}

const UNET_ENDS: Readonly<Record<string, string>> = {
  "time_embed.0": "time_embedding.linear_1",
  "time_embed.2": "time_embedding.linear_2",
  "input_blocks.0.0": "conv_in",
  "out.0": "conv_norm_out",
  "out.2": "conv_out",
};

const UNET_RESNET: Readonly<Record<string, string>> = {
  "in_layers.0": "norm1",
  "in_layers.2": "conv1",
  "emb_layers.1": "time_emb_proj",
  "out_layers.0": "norm2",
  "out_layers.3": "conv2",
  skip_connection: "conv_shortcut",
};

function withResnet(to: string, inner: string, end: string): string | undefined {
  const name = UNET_RESNET[inner];
  return name === undefined ? undefined : `${to}.${name}.${end}`;
}

/** A UNet key without prefix in diffusers' names, or `undefined` when it is none. */
export function ldmUnetName(key: string, layersPerBlock: number): string | undefined {
  const [, path = "", end = ""] = /^(.*)\.(weight|bias)$/.exec(key) ?? [];
  if (Object.hasOwn(UNET_ENDS, path)) return `${UNET_ENDS[path]}.${end}`;
  const middle = /^middle_block\.([012])\.(.+)$/.exec(path);
  if (middle) {
    const [, which, inner = ""] = middle;
    if (which === "1") return `mid_block.attentions.0.${inner}.${end}`;
    return withResnet(`mid_block.resnets.${which === "0" ? 0 : 1}`, inner, end);
  }
  const [, side, number, part, inner = ""] = /^(input|output)_blocks\.(\d+)\.([012])\.(.+)$/.exec(path) ?? [];
  if (side === undefined) return undefined;
  const index = side === "input" ? Number(number) - 1 : Number(number);
  const block = `${side === "input" ? "down" : "up"}_blocks.${Math.floor(index / (layersPerBlock + 1))}`;
  const layer = index % (layersPerBlock + 1);
  if (side === "input" && part === "0" && inner === "op") return `${block}.downsamplers.0.conv.${end}`;
  if (side === "output" && part !== "0" && inner === "conv") return `${block}.upsamplers.0.conv.${end}`;
  if (part === "0") return withResnet(`${block}.resnets.${layer}`, inner, end);
  return part === "1" ? `${block}.attentions.${layer}.${inner}.${end}` : undefined;
}

const VAE_ATTENTION: Readonly<Record<string, string>> = {
  norm: "group_norm",
  q: "to_q",
  k: "to_k",
  v: "to_v",
  proj_out: "to_out.0",
};

/** An autoencoder key without prefix in diffusers' names, for a decoder of `levels` resolutions, or `undefined` when it is none. */
export function ldmVaeName(key: string, levels: number): string | undefined {
  const [, path = "", end = ""] = /^(.*)\.(weight|bias)$/.exec(key) ?? [];
  if (path === "quant_conv" || path === "post_quant_conv") return key;
  const [, half, inner = ""] = /^(encoder|decoder)\.(.+)$/.exec(path) ?? [];
  if (half === undefined) return undefined;
  if (inner === "conv_in" || inner === "conv_out") return key;
  if (inner === "norm_out") return `${half}.conv_norm_out.${end}`;
  const attention = /^mid\.attn_1\.(\w+)$/.exec(inner)?.[1] ?? "";
  if (Object.hasOwn(VAE_ATTENTION, attention)) {
    return `${half}.mid_block.attentions.0.${VAE_ATTENTION[attention]}.${end}`;
  }
  const [, middle, middleInner = ""] = /^mid\.block_([12])\.(\w+)$/.exec(inner) ?? [];
  if (middle !== undefined) return `${half}.mid_block.resnets.${Number(middle) - 1}.${shortcut(middleInner)}.${end}`;
  const [, side, level, rest = ""] = /^(down|up)\.(\d+)\.(.+)$/.exec(inner) ?? [];
  if (side !== (half === "encoder" ? "down" : "up")) return undefined;
  const block = `${half}.${side}_blocks.${side === "down" ? level : levels - 1 - Number(level)}`;
  if (rest === `${side}sample.conv`) return `${block}.${side}samplers.0.conv.${end}`;
  const [, resnet, resnetInner = ""] = /^block\.(\d+)\.(\w+)$/.exec(rest) ?? [];
  return resnet === undefined ? undefined : `${block}.resnets.${resnet}.${shortcut(resnetInner)}.${end}`;
}

function shortcut(inner: string): string {
  return inner === "nin_shortcut" ? "conv_shortcut" : inner;
}

/** The attention's projections are 1×1 convolutions there and linear layers here. */
function vaeShape(name: string, shape: readonly number[]): readonly number[] {
  const linear = /\.attentions\.0\.to_(q|k|v|out\.0)\.weight$/.test(name);
  return linear && shape.length === 4 && shape[2] === 1 && shape[3] === 1 ? shape.slice(0, 2) : shape;
}
