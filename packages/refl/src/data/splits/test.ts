/** The test splits. Only evaluation may import this module: nothing that training code reaches does. */
import { allCombinations } from "../combinations.ts";
import type { Attributes, PictureTask, Prompt } from "../task.ts";
import { promptsOf } from "./prompts.ts";

/** A test prompt with the seed that its picture is drawn from, the same for every model that is compared. */
export interface TestPrompt extends Prompt {
  readonly seed: number;
}

/** `test-unseen`: combinations in no training, preference or tuning data. `test-seen`: combinations of `train` under new seeds. */
export type TestSplit = "test-seen" | "test-unseen";

/** First seed of each test list. Training, sampling and annotation use seeds below 2^31. */
export const TEST_SEED_START: Readonly<Record<TestSplit, number>> = {
  "test-seen": 2 ** 31,
  "test-unseen": 3 * 2 ** 30,
};

const PROMPT_SEED = 2 ** 31;

/** The combinations held out from all training, in a fixed order. */
export function testUnseenCombinations(task: PictureTask): Attributes[] {
  return allCombinations(task.axes).filter((attributes) => task.splitOf(attributes) === "test-unseen");
}

/** The first `count` of a test split's fixed list. */
export function testPrompts(task: PictureTask, split: TestSplit, count: number): TestPrompt[] {
  const combinations = split === "test-seen" ? task.combinations("train") : testUnseenCombinations(task);
  const prompts = promptsOf(task, combinations, count, PROMPT_SEED);
  return prompts.map((prompt, i) => ({ ...prompt, seed: TEST_SEED_START[split] + i }));
}

/** Combinations of `train` in a word order that training never shows, with the seeds of `test-seen`: a measure of the text encoder alone. */
export function wordOrderPrompts(task: PictureTask, count: number): TestPrompt[] {
  return testPrompts(task, "test-seen", count).map(({ attributes, seed }) => ({
    text: task.captionOf(attributes, task.templates - 1),
    attributes,
    seed,
  }));
}
