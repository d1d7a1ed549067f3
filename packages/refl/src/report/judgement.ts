/** From the judge's aggregates to the form of the summary. */
import { DataError } from "@refl/tensor";
import type { Aggregate } from "../judge/aggregate.ts";
import type { ArmJudgement } from "./summary.ts";

/**
 * One arm's entry for one kind of prompts. `parts` are aggregates over the same pictures and must have `score`; `single` are numbers over
 * all pictures at once, such as a Fréchet distance, which have no standard error. Throws `DataError` without a score.
 */
export function armJudgement(
  parts: Readonly<Record<string, Aggregate>>,
  single: Readonly<Record<string, number>> = {},
): ArmJudgement {
  const score = parts["score"];
  if (!score)
    throw new DataError("judgement", 0, "score", `missing; found ${Object.keys(parts).join(", ") || "nothing"}`);
  const alone = Object.entries(single).map(([name, mean]) => [name, { mean, standardError: null, count: score.count }]);
  return {
    score: score.mean,
    standardError: score.standardError,
    pictures: score.count,
    parts: { ...parts, ...(Object.fromEntries(alone) as ArmJudgement["parts"]) },
  };
}
