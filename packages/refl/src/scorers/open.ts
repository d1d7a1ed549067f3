/** Opens the scorer that a config names. */
import { DataError } from "@refl/tensor";
import type { ScorerConfig } from "../config/score.ts";
import type { JobContext } from "../jobs/context.ts";
import { AestheticScorer } from "./aesthetic.ts";
import { BlipScorer } from "./blip.ts";
import { ClipScorer } from "./clip.ts";
import { ImageReward } from "./image-reward.ts";
import type { ModelPlace } from "./scorer.ts";

/** All scorers, told apart by their `name`. */
export type Scorer = ImageReward | ClipScorer | AestheticScorer | BlipScorer;

/** The place of a model that a user named: a file's where the host knows files, else a folder's. */
export async function openPlace(
  path: string,
  { place, open }: Pick<JobContext, "place" | "open">,
): Promise<ModelPlace> {
  return place ? place(path) : { folder: await open(path), file: null };
}

/**
 * @throws DataError when the config lacks what the scorer needs; CheckpointError when files are missing, damaged or do not fit
 */
export async function openScorer(
  config: Omit<ScorerConfig, "batchSize">,
  context: Pick<JobContext, "place" | "open" | "device">,
): Promise<Scorer> {
  const { device } = context;
  const at = (path: string): Promise<ModelPlace> => openPlace(path, context);
  if (config.head !== undefined && config.scorer !== "aesthetic")
    throw new DataError("score", 0, "head", `is the aesthetic predictor's file; the scorer is ${config.scorer}`);
  const tokenizer = config.tokenizer === undefined ? {} : { tokenizer: await at(config.tokenizer) };
  switch (config.scorer) {
    case "imagereward":
      return ImageReward.load(await at(config.model), device, tokenizer);
    case "clip":
      return ClipScorer.load(await at(config.model), device, tokenizer);
    case "blip":
      return BlipScorer.load(await at(config.model), device, { ...tokenizer, head: config.blipHead });
    case "aesthetic": {
      if (config.head === undefined)
        throw new DataError(
          "score",
          0,
          "head",
          "missing; name the aesthetic predictor's file (sac+logos+ava1-l14-linearMSE.pth) with --head",
        );
      return AestheticScorer.load(await at(config.model), await at(config.head), device);
    }
  }
}
