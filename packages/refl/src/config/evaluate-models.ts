/** The config of `eval models`: text-to-image models ranked by a scorer's mean, beside people's ranks. */
import * as v from "valibot";
import { intervalEntries, text, tuneEntry } from "./fields.ts";
import type { ConfigDefinition } from "./resolve.ts";
import { scorerEntries } from "./score.ts";

/** Schema of the config of `eval models`. */
export const EvaluateModelsSchema = v.strictObject({
  models: v.optional(
    v.pipe(
      v.array(v.string()),
      v.description("Models to rank: folders of their pictures, or JSON files of scores, as `path` or `name=path`"),
    ),
    [],
  ),
  prompts: v.optional(
    text(
      "Prompts of the pictures, JSON records of `id` and `prompt`, for pictures called <id>_<k>; without it each PNG tells its own",
    ),
  ),
  humanRanks: v.optional(
    v.pipe(
      v.string(),
      v.check(
        (ranks) => /^\d+(\.\d+)?(,\d+(\.\d+)?)*$/.test(ranks),
        "expected ranks with commas between, such as 2,1,3",
      ),
      v.description("People's ranks of the models in their order, 1 the best, with commas between"),
    ),
  ),
  ...scorerEntries,
  model: v.optional(scorerEntries.model),
  ...tuneEntry,
  ...intervalEntries,
  out: v.optional(text("JSON file for the result")),
});

/** The resolved config of `eval models`. */
export type EvaluateModelsConfig = v.InferOutput<typeof EvaluateModelsSchema>;

/** `eval models`. */
export const evaluateModelsConfig: ConfigDefinition<typeof EvaluateModelsSchema> = {
  command: "eval models",
  schema: EvaluateModelsSchema,
};
