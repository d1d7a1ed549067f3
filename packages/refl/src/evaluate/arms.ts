/** One arm under both judges: the taste's score with its error, every part of the exact judge, the second judge, diversity. */

import type { Attributes, PictureTask } from "../data/task.ts";
import { type Aggregate, aggregate, aggregateParts } from "../judge/aggregate.ts";
import { pairwiseDiversity } from "../judge/diversity.ts";
import { type JudgedPicture, judgeOf, partsOf } from "../judge/exact.ts";
import { type Taste, tasteScore } from "../judge/taste.ts";
import { armJudgement } from "../report/judgement.ts";
import type { ArmJudgement } from "../report/summary.ts";
import type { SecondJudge } from "./second-judge.ts";

/** Pictures of an arm on one kind of prompts: `perPrompt` pictures of each prompt next to each other. */
export interface ArmPictures {
  /** [N, 3, S, S] in 0..1. */
  readonly rgb: Float32Array;
  readonly attributes: readonly Attributes[];
}

/** Pictures of equal wishes under several seeds, `perPrompt` of each next to each other: what diversity is measured on. */
export interface RepeatedPictures {
  readonly rgb: Float32Array;
  readonly prompts: number;
  readonly perPrompt: number;
}

/** Fewest wishes that a diversity is taken over. */
const MIN_GROUPS = 8;

/** The wishes that an arm has several pictures of, up to four of each; null where there are too few. */
export function repeatedPictures(task: PictureTask, { rgb, attributes }: ArmPictures): RepeatedPictures | null {
  const groups = new Map<string, number[]>();
  attributes.forEach((a, i) => {
    const key = JSON.stringify(a);
    groups.set(key, [...(groups.get(key) ?? []), i]);
  });
  for (let perPrompt = 4; perPrompt >= 2; perPrompt--) {
    const whole = [...groups.values()]
      .filter((list) => list.length >= perPrompt)
      .map((list) => list.slice(0, perPrompt));
    if (whole.length < MIN_GROUPS) continue;
    const each = 3 * task.size * task.size;
    const gathered = new Float32Array(whole.length * perPrompt * each);
    whole
      .flat()
      .forEach((picture, place) => void gathered.set(rgb.subarray(picture * each, (picture + 1) * each), place * each));
    return { rgb: gathered, prompts: whole.length, perPrompt };
  }
  return null;
}

/** What the exact judge and the taste say of each picture. */
export interface JudgedArm {
  readonly pictures: readonly JudgedPicture[];
  readonly scores: readonly number[];
}

export function judgePicturesOf(task: PictureTask, taste: Taste, { rgb, attributes }: ArmPictures): JudgedArm {
  const judge = judgeOf(task);
  const pictures = attributes.map((asked, i) => judge.judge(rgb, i, asked));
  return { pictures, scores: pictures.map((p) => tasteScore(taste, task, p)) };
}

/** The summary's entry of an arm. */
export async function judgeArm(
  task: PictureTask,
  taste: Taste,
  arm: ArmPictures,
  second: SecondJudge,
): Promise<ArmJudgement> {
  const { pictures, scores } = judgePicturesOf(task, taste, arm);
  const parts: Record<string, Aggregate> = { score: aggregate(scores) };
  for (const [name, value] of Object.entries(aggregateParts(pictures.map(partsOf))))
    parts[name === "score" ? "judge" : name] = value;
  const { recognised, frechet } = await second.judge(arm.rgb, arm.attributes);
  parts["recognised"] = aggregate(recognised);
  const repeated = repeatedPictures(task, arm);
  if (repeated) parts["diversity"] = pairwiseDiversity(repeated.rgb, repeated.prompts, repeated.perPrompt);
  return armJudgement(parts, { frechet });
}
