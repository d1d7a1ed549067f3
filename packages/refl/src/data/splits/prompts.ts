/** Prompts drawn from a list of combinations: every combination once per round, each round in an order of its own. */
import { DataError } from "@refl/tensor";
import { intAt, shuffleAt, streamOf } from "../random.ts";
import type { Attributes, PictureTask, Prompt } from "../task.ts";

const ORDER = streamOf("prompt order");
const TEMPLATE = streamOf("prompt template");

/** `count` prompts, a pure function of (combinations, seed, index): prompt i does not depend on `count`. Templates are those of training. */
export function promptsOf(
  task: PictureTask,
  combinations: readonly Attributes[],
  count: number,
  seed: number,
): Prompt[] {
  if (combinations.length === 0) throw new DataError(task.name, 0, "split", "has no combinations");
  const prompts: Prompt[] = [];
  for (let round = 0; prompts.length < count; round++) {
    for (const i of shuffleAt(seed, ORDER, round, combinations.length)) {
      if (prompts.length === count) break;
      const attributes = combinations[i]!;
      const template = intAt(seed, TEMPLATE, prompts.length, task.trainingTemplates);
      prompts.push({ text: task.captionOf(attributes, template), attributes });
    }
  }
  return prompts;
}
