/** The configs of `score` and `rank`: a reward model's opinion of pictures. */
import * as v from "valibot";
import { count, text } from "./fields.ts";
import type { ConfigDefinition } from "./resolve.ts";

/** Schema of the config of `score` and of `rank`. */
export const ScoreSchema = v.strictObject({
  reward: text("Folder of the reward model, as `train reward` left it"),
  prompt: v.optional(text("The prompt for all pictures; without it each PNG's own parameters tell its prompt")),
  images: v.optional(v.pipe(v.array(v.string()), v.description("PNG files, or folders of them")), []),
  batchSize: v.optional(count("Pictures scored at once"), 32),
});

/** The resolved config of `score` and of `rank`. */
export type ScoreConfig = v.InferOutput<typeof ScoreSchema>;

/** `score`: one reward per picture. */
export const scoreConfig: ConfigDefinition<typeof ScoreSchema> = { command: "score", schema: ScoreSchema };

/** `rank`: the pictures of each prompt, the best first. */
export const rankConfig: ConfigDefinition<typeof ScoreSchema> = { command: "rank", schema: ScoreSchema };
