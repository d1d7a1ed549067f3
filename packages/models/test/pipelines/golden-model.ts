/** The Stable Diffusion shaped model of the golden pictures: its parts filled with seeded weights, and as a folder. */
import { type Device, type Tensor, tensor } from "@refl/tensor";
import type { WritableModelFolder } from "../../src/formats/folder.ts";
import { AutoencoderKL } from "../../src/models/autoencoder-kl.ts";
import { AutoencoderTiny } from "../../src/models/autoencoder-tiny.ts";
import { CLIPTextModel } from "../../src/models/clip-text.ts";
import { UNet2DConditionModel } from "../../src/models/unet.ts";
import { fillSeeded } from "../../src/nn/seeded.ts";
import { AutoencoderCodec } from "../../src/pipelines/latent-codec.ts";
import { TextToImagePipeline } from "../../src/pipelines/text-to-image.ts";
import { PNDMScheduler } from "../../src/schedulers/pndm.ts";
import { CLIPTokenizer, clipVocabulary } from "../../src/tokenizers/clip-tokenizer.ts";
import { Golden } from "../models/golden-file.ts";

/** Options of a golden picture, as `reference/golden/pipelines.py` has them. */
export interface GoldenCase {
  readonly scheduler: { readonly _class_name: string };
  readonly steps: number;
  readonly guidance: number;
  readonly seeds: number | number[];
  readonly negative?: string;
  readonly rescale?: number;
  readonly eta?: number;
  readonly strength?: number;
  readonly vae?: "tiny";
}

export const golden: Golden = await Golden.open("pipelines");

export const config = golden.config as unknown as {
  readonly prompts: string[];
  readonly merges: string[];
  readonly unet: object;
  readonly text_encoder: object;
  readonly kl: object;
  readonly tiny: object;
  readonly cases: Record<string, GoldenCase>;
};

/** The golden autoencoder of a kind. */
export function goldenCodec(device: Device, kind: "kl" | "tiny"): AutoencoderCodec {
  if (kind === "tiny")
    return new AutoencoderCodec(fillSeeded(new AutoencoderTiny(config.tiny), device, { prefix: "tiny." }));
  return new AutoencoderCodec(fillSeeded(new AutoencoderKL(config.kl), device, { prefix: "vae." }));
}

/** Writes the golden model as a diffusers folder with Stable Diffusion 1's scheduler. */
export async function saveGoldenModel(
  device: Device,
  folder: WritableModelFolder,
  kind: "kl" | "tiny" = "kl",
): Promise<void> {
  const { merges } = config;
  using made = new TextToImagePipeline(device, {
    tokenizer: new CLIPTokenizer({ vocab: clipVocabulary(merges), merges }),
    textEncoder: fillSeeded(new CLIPTextModel(config.text_encoder), device, { prefix: "text_encoder." }),
    unet: fillSeeded(new UNet2DConditionModel(config.unet), device, { prefix: "unet." }),
    scheduler: new PNDMScheduler(config.cases["pndm"]!.scheduler),
    codec: goldenCodec(device, kind),
  });
  await made.save(folder);
}

const RULES = [
  (x: number, y: number) => (x + 2 * y) % 9,
  (x: number, y: number) => (3 * x + y) % 9,
  (x: number, y: number) => (x * y) % 9,
] as const;

/** The planes [3, 16, 16] of the picture that runs begin with, in eighths. */
export const firstPlanes = (): number[] =>
  RULES.flatMap((rule) => Array.from({ length: 256 }, (_, i) => rule(i % 16, Math.floor(i / 16)) / 8));

/** That picture, [1, 3, 16, 16]. */
export const firstPicture = (device: Device): Tensor => tensor(device, firstPlanes(), [1, 3, 16, 16]);
