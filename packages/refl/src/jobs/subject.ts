/** What tuning is about: the prompts it draws for, the pictures that the base model learnt from, and who looks at what comes out. */
import type { TextToImagePipeline } from "@refl/models";
import { DataError } from "@refl/tensor";
import { intAt, shuffleAt, streamOf } from "../data/random.ts";
import { trainPrompts, validationPrompts } from "../data/splits/train.ts";
import type { PictureTask } from "../data/task.ts";
import { judgePicturesOf } from "../evaluate/arms.ts";
import { aggregate } from "../judge/aggregate.ts";
import type { Taste } from "../judge/taste.ts";
import type { ImageReward } from "../scorers/image-reward.ts";
import { type ExampleSource, taskExamples } from "../train/examples.ts";
import type { Look } from "../train/refl.ts";

/** How pictures are drawn for looks. */
export interface LookSampling {
  readonly samplerSteps: number;
  readonly guidance: number;
}

export interface TuningSubject {
  /** For people. */
  readonly name: string;
  /** Prompt number `index`; a pure function of (seed, index). */
  readonly prompt: (seed: number, index: number) => string;
  /** Data of the base model's kind, for the pre-training loss; null where there is none. */
  readonly examples: ExampleSource | null;
  /** Prompts of the sample grids. */
  readonly gridPrompts: readonly string[];
  /** The judge's look at pictures that the model draws; null where nobody but the reward model could judge. */
  readonly look: ((pipeline: TextToImagePipeline, scorer: ImageReward, sampling: LookSampling) => Promise<Look>) | null;
}

/** Pictures of validation prompts that the judge looks at during tuning, and the seed that they are drawn from every time. */
const LOOK = { pictures: 84, seed: 7 } as const;

/** Prompts that tuning on a task draws from. */
const TASK_PROMPTS = 1024;

/** Prompts of the grids, of a task and of own prompts, whose pictures are larger. */
const GRID = { task: 16, own: 4 } as const;

const PROMPT = streamOf("refl prompt");
const ORDER = streamOf("refl prompt order");

/** The prompts of a task's sample grids. */
export const taskGridPrompts = (task: PictureTask): string[] => trainPrompts(task, GRID.task, 1).map((p) => p.text);

/** Training prompts of a task, its pictures, and the judge's taste on validation prompts. `examples` replace the task's pictures. */
export function taskSubject(
  task: PictureTask,
  taste: Taste,
  seed: number,
  examples: ExampleSource = taskExamples(task),
): TuningSubject {
  const prompts = trainPrompts(task, TASK_PROMPTS, seed + 1);
  const looked = validationPrompts(task, LOOK.pictures, seed);
  const texts = looked.map((p) => p.text);
  const attributes = looked.map((p) => p.attributes);
  return {
    name: `taste ${taste.name}`,
    prompt: (drawn, index) => prompts[intAt(drawn, PROMPT, index, prompts.length)]!.text,
    examples,
    gridPrompts: taskGridPrompts(task),
    look: async (pipeline, scorer, { samplerSteps, guidance }) => {
      const options = { prompts: texts, seeds: LOOK.seed, steps: samplerSteps, guidanceScale: guidance };
      const drawn = await pipeline.generate(options);
      const rgb = (await drawn.data()) as Float32Array;
      drawn.dispose();
      const { mean, standardError } = aggregate(judgePicturesOf(task, taste, { rgb, attributes }).scores);
      const rewards = await scorer.score(texts, rgb, task.size);
      return { judge: mean, standardError, reward: rewards.reduce((a, b) => a + b, 0) / rewards.length };
    },
  };
}

/**
 * A user's own prompts, each once in every round, rounds in orders of their own; nobody judges.
 * @throws DataError when there are none
 */
export function promptSubject(
  name: string,
  prompts: readonly string[],
  examples: ExampleSource | null = null,
): TuningSubject {
  if (prompts.length === 0) throw new DataError(name, 0, "prompts", "holds no prompts");
  // Rounds are asked for one after the other, so the last one is enough to remember.
  let last: { readonly seed: number; readonly round: number; readonly order: readonly number[] } | null = null;
  return {
    name: `${prompts.length} prompts of ${name}`,
    prompt: (seed, index) => {
      const round = Math.floor(index / prompts.length);
      if (last?.seed !== seed || last.round !== round)
        last = { seed, round, order: shuffleAt(seed, ORDER, round, prompts.length) };
      return prompts[last.order[index % prompts.length]!]!;
    },
    examples,
    gridPrompts: prompts.slice(0, GRID.own),
    look: null,
  };
}
