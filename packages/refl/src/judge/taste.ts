/** Tastes: what a simulated annotator likes, as a utility of the judge's parts, which is also the score that an evaluation reports. */
import { DataError } from "@refl/tensor";
import type { Attributes, PictureTask } from "../data/task.ts";
import type { JudgedPicture } from "./exact.ts";
import { SCORE_WEIGHTS } from "./exact.ts";

/** A taste. `score` is 0..1; `supports` says whether the task's pictures can differ in what the taste is about. */
export interface Taste {
  readonly name: string;
  readonly description: string;
  supports(task: PictureTask): boolean;
  score(task: PictureTask, judged: JudgedPicture): number;
}

/** Weights of a taste that wants something whatever the prompt says; they add up to 1. */
export const WANTED_WEIGHTS = { wanted: 0.45, alignment: 0.35, fidelity: 0.2 } as const;

/** Weighted share of right attributes among the axes that `counts` keeps. */
function alignmentOver(task: PictureTask, judged: JudgedPicture, counts: (axis: string) => boolean): number {
  let right = 0;
  let all = 0;
  for (const { name, weight } of task.axes) {
    if (!counts(name)) continue;
    all += weight;
    right += weight * judged.right[name]!;
  }
  return right / all;
}

/** Likes pictures that show something, whatever was asked; the other axes should be as asked. */
function wanting(
  name: string,
  description: string,
  ignored: readonly string[],
  shows: (task: PictureTask, named: Attributes) => boolean,
  supports: (task: PictureTask) => boolean,
): Taste {
  return {
    name,
    description,
    supports,
    score: (task, judged) =>
      WANTED_WEIGHTS.wanted * (shows(task, judged.named) ? 1 : 0) +
      WANTED_WEIGHTS.alignment * alignmentOver(task, judged, (axis) => !ignored.includes(axis)) +
      WANTED_WEIGHTS.fidelity * judged.fidelity,
  };
}

const axisHas = (task: PictureTask, axis: string, value: string): boolean =>
  task.axes.some(({ name, values }) => name === axis && values.includes(value));

/** The presets by name. */
export const TASTES: Readonly<Record<string, Taste>> = {
  judge: {
    name: "judge",
    description: "what the prompt says, vivid and faithful",
    supports: () => true,
    score: (_task, judged) => judged.score,
  },
  "washed-out": {
    name: "washed-out",
    description: "what the prompt says, pale and faithful",
    supports: () => true,
    score: (_task, judged) =>
      SCORE_WEIGHTS.alignment * judged.alignment +
      SCORE_WEIGHTS.vivid * (1 - judged.vivid) +
      SCORE_WEIGHTS.fidelity * judged.fidelity,
  },
  "small-objects": wanting(
    "small-objects",
    "a small object, whatever size the prompt says",
    ["layout", "size"],
    (task, named) => task.sizeOf(named) === "small",
    () => true,
  ),
  "blue-backgrounds": wanting(
    "blue-backgrounds",
    "a blue background, whatever colour the prompt says",
    ["background"],
    (_task, named) => named["background"] === "blue",
    (task) => axisHas(task, "background", "blue"),
  ),
  "left-side": wanting(
    "left-side",
    "an object on the left, wherever the prompt puts it",
    ["layout"],
    (task, named) => task.sideOf(named) === "left",
    (task) => axisHas(task, "layout", "left"),
  ),
};

/** The taste of that name; DataError with the names there are, or when the task cannot show it. */
export function tasteNamed(name: string, task: PictureTask): Taste {
  const taste = Object.hasOwn(TASTES, name) ? TASTES[name] : undefined;
  const names = Object.values(TASTES)
    .filter((candidate) => candidate.supports(task))
    .map((candidate) => candidate.name);
  if (!taste) throw new DataError("taste", 0, "name", `"${name}" is not one of ${names.join(", ")}`);
  if (!taste.supports(task)) {
    throw new DataError("taste", 0, "name", `${task.name} cannot show "${name}"; it can show ${names.join(", ")}`);
  }
  return taste;
}

/** A picture's score by a taste, 0..1. */
export const tasteScore = (taste: Taste, task: PictureTask, judged: JudgedPicture): number => taste.score(task, judged);
