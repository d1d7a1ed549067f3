/** The configs of `score` and `rank`: a scorer's opinion of pictures. */
import * as v from "valibot";
import { BLIP_HEADS } from "../scorers/blip.ts";
import { SCORERS } from "../scorers/scorer.ts";
import { choice, count, text, tuneEntry } from "./fields.ts";
import type { ConfigDefinition } from "./resolve.ts";

/** Forms in which scores are told. */
export const SCORE_FORMATS = ["table", "json", "csv"] as const;

/** The scorer's weights, and its own options. */
export const scorerEntries = {
  scorer: v.optional(choice(SCORERS, "What scores the pictures"), "imagereward"),
  model: text(
    "The scorer's weights: a folder, a run's folder, or a released file (ImageReward.pt, model_large.pth); CLIP's for clip and aesthetic",
  ),
  head: v.optional(text("The aesthetic predictor's file, such as sac+logos+ava1-l14-linearMSE.pth")),
  tokenizer: v.optional(
    text(
      "The tokenizer's file (vocab.txt, bpe_simple_vocab_16e6.txt.gz) or folder; without it the one beside the weights",
    ),
  ),
  blipHead: v.optional(
    choice(BLIP_HEADS, "What of BLIP scores: the features' cosine, or the matching head's probability"),
    "itc",
  ),
  batchSize: v.optional(count("Pictures scored at once"), 32),
};

const { batchSize, ...weightEntries } = scorerEntries;

/** Schema of the config of `score` and of `rank`. */
export const ScoreSchema = v.strictObject({
  ...weightEntries,
  ...tuneEntry,
  prompt: v.optional(
    v.pipe(
      v.array(v.string()),
      v.description("Prompts, each asked of every picture; without any each PNG's own parameters tell its prompt"),
    ),
    [],
  ),
  images: v.optional(
    v.pipe(v.array(v.string()), v.description("Picture files, folders of them, or patterns such as `out/**/*.png`")),
    [],
  ),
  batchSize,
  format: v.optional(choice(SCORE_FORMATS, "Form of the result"), "table"),
  out: v.optional(
    text("File for the result instead of stdout: JSON, or CSV where its name ends in .csv or the format says so"),
  ),
});

/** The resolved config of `score` and of `rank`. */
export type ScoreConfig = v.InferOutput<typeof ScoreSchema>;

/** What opens a scorer and bounds its batches. */
export type ScorerConfig = Pick<ScoreConfig, keyof typeof scorerEntries>;

/** `score`: one score per picture and prompt. */
export const scoreConfig: ConfigDefinition<typeof ScoreSchema> = { command: "score", schema: ScoreSchema };

/** `rank`: the pictures of each prompt, the best first. */
export const rankConfig: ConfigDefinition<typeof ScoreSchema> = { command: "rank", schema: ScoreSchema };
