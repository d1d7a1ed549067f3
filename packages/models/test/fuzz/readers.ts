/** The readers that are fuzzed, each with whole files to damage and with what it does to a file. */
import { readFileSync } from "node:fs";
import {
  bytesSource,
  type Checkpoint,
  dtypeSize,
  float32Entry,
  memoryFolder,
  openAIClip,
  openAIClipConfig,
  openCheckpoint,
  openSafetensors,
  openShardedCheckpoint,
  openTorchLegacy,
  openTorchZip,
  readLora,
  splitLdmCheckpoint,
  writeSafetensors,
} from "@refl/models";
import { CheckpointError, DataError } from "@refl/tensor";
import { mutate, Random } from "./mutate.ts";

export interface FuzzedReader {
  readonly name: string;
  readonly files: readonly string[];
  /** Makes its whole files of those, where it does not take them as they are. */
  readonly seeds?: (files: readonly Uint8Array[]) => Uint8Array[];
  /** Reads damaged bytes whole. */
  readonly read: (bytes: Uint8Array, seeds: readonly Uint8Array[], random: Random) => Promise<void>;
}

/** A tensor from a damaged file may be this much larger than the file: what repeated elements are allowed. */
const LARGEST_TENSOR = 64 * 2 ** 20 + 2 ** 16;

async function readAll(checkpoint: Checkpoint): Promise<void> {
  for await (const { name, dtype, shape, bytes } of checkpoint.entries()) {
    const needed = shape.reduce((product, size) => product * size, 1) * dtypeSize(dtype);
    if (bytes.length !== needed) throw new Error(`${name}: ${bytes.length} bytes for ${dtype} [${shape.join(", ")}]`);
    if (bytes.length > LARGEST_TENSOR) throw new Error(`${name}: ${bytes.length} bytes from a small file`);
  }
  await checkpoint.close();
}

/** Layers that the golden adapters are of; kohya's names have underscores where these have dots. */
const LORA_PATHS = [
  "down_blocks.0.attentions.0",
  "mid_block.attentions.0",
  "up_blocks.1.attentions.0",
  "up_blocks.1.attentions.1",
].flatMap((block) =>
  ["attn1.to_q", "attn1.to_out.0", "attn2.to_k", "attn2.to_out.0"].map(
    (name) => `${block}.transformer_blocks.0.${name}`,
  ),
);

/** One in so many of Stable Diffusion's names: damage to a header of all would seldom reach the names. */
const LDM_SHARE = 24;

const INDEX = "model.safetensors.index.json";

export const READERS: readonly FuzzedReader[] = [
  {
    name: "safetensors",
    files: ["types.safetensors", "sharded/model-00001-of-00003.safetensors"],
    read: async (bytes) => readAll(await openSafetensors(bytesSource(bytes, "fuzz"))),
  },
  {
    name: "torch-zip",
    files: [
      "types.pt",
      "types_new.pt",
      "views.pt",
      "state_dict.pt",
      "wrapped.ckpt",
      "protocol4.bin",
      "deflated.pt",
      "zip64.pt",
      "script.pt",
    ],
    read: async (bytes) => readAll(await openTorchZip(bytesSource(bytes, "fuzz"))),
  },
  {
    name: "torch-legacy",
    files: ["legacy_types.pth", "legacy_views.pth", "legacy_wrapped.ckpt"],
    read: async (bytes) => readAll(await openTorchLegacy(bytesSource(bytes, "fuzz"))),
  },
  {
    name: "any",
    files: ["types.safetensors", "types.pt", "deflated.pt", "legacy_views.pth", "command.pt", "script.pt"],
    read: async (bytes) => readAll(await openCheckpoint(bytesSource(bytes, "fuzz"), { halves: "widen", finite: true })),
  },
  {
    name: "sharded",
    files: [
      `sharded/${INDEX}`,
      "sharded/model-00001-of-00003.safetensors",
      "sharded/model-00002-of-00003.safetensors",
      "sharded/model-00003-of-00003.safetensors",
    ],
    read: async (bytes, [index, ...shards], random) => {
      const files = new Map(shards.map((shard, i) => [`model-0000${i + 1}-of-00003.safetensors`, shard]));
      files.set(INDEX, index!);
      files.set(random.pick([INDEX, INDEX, ...files.keys()]), bytes);
      await readAll(await openShardedCheckpoint(memoryFolder(files), INDEX));
    },
  },
  {
    name: "openai-clip",
    files: ["../openai_clip.pt"],
    read: async (bytes) => {
      const clip = openAIClip(await openCheckpoint(bytesSource(bytes, "fuzz")));
      openAIClipConfig(clip);
      await readAll(clip);
    },
  },
  {
    name: "lora",
    files: ["lora_kohya.safetensors", "lora_diffusers.safetensors"],
    read: async (bytes) => {
      const file = await openCheckpoint(bytesSource(bytes, "fuzz"));
      for (const [path, { down, up, alpha }] of await readLora(file, LORA_PATHS)) {
        if (down.shape[0] !== up.shape[1] || !Number.isFinite(alpha))
          throw new Error(`${path}: halves that do not fit`);
      }
    },
  },
  {
    name: "ldm",
    files: ["ldm_names.tsv"],
    seeds: ([table]) => {
      const rows = new TextDecoder().decode(table).trim().split("\n");
      const names = rows.map((row) => row.split("\t")[0]!);
      const kept = names.filter((name, i) => i % LDM_SHARE === 0 || name.includes("time_embed.0.weight"));
      return [writeSafetensors(kept.map((name) => float32Entry(name, [1, 1, 1, 1], new Float32Array(1))))];
    },
    read: async (bytes) => {
      const { unet, vae, textEncoder } = splitLdmCheckpoint(await openCheckpoint(bytesSource(bytes, "fuzz")));
      for (const part of [unet, vae, textEncoder]) await readAll(part);
    },
  },
];

export type Outcome = "read" | "refused";

/** Case `index` of a reader: damages a file and reads it. Anything but a typed error is thrown. */
export async function runCase(
  reader: FuzzedReader,
  seeds: readonly Uint8Array[],
  seed: number,
  index: number,
): Promise<Outcome> {
  const random = new Random(seed, READERS.indexOf(reader), index);
  const bytes = mutate(seeds, random);
  try {
    await reader.read(bytes, seeds, random);
    return "read";
  } catch (error) {
    if (error instanceof CheckpointError || error instanceof DataError) return "refused";
    throw error;
  }
}

/** A reader's whole files, from the folder of golden checkpoints. */
export function seedFiles(reader: FuzzedReader, folder: string): Uint8Array[] {
  const files = reader.files.map((file) => new Uint8Array(readFileSync(`${folder}/${file}`)));
  return reader.seeds?.(files) ?? files;
}
