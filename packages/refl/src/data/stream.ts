/** The base model's training pictures, as data from the web is: many washed out, some with a wrong caption. */
import { DataError } from "@refl/tensor";
import { JITTERS } from "./combinations.ts";
import { intAt, streamOf, uniformAt } from "./random.ts";
import type { Attributes, Axis, Jitter, PictureTask, TrainingSplit } from "./task.ts";

/** Shares of spoilt pictures and captions, each 0..1. */
export interface DataMix {
  readonly washedOut: number;
  readonly wrongCaption: number;
}

/** Half of the pictures washed out, a fifth of the captions naming a wrong background. */
export const WEB_MIX: DataMix = { washedOut: 0.5, wrongCaption: 0.2 };

/** No spoilt pictures or captions. */
export const CLEAN_MIX: DataMix = { washedOut: 0, wrongCaption: 0 };

/** One picture with its caption. `attributes` are the picture's; `rgb` is HWC bytes [size, size, 3]. */
export interface TrainingExample {
  readonly rgb: Uint8Array;
  readonly caption: string;
  readonly attributes: Attributes;
  readonly washedOut: boolean;
  readonly captionWrong: boolean;
  readonly jitter: Jitter;
}

const COMBINATION = streamOf("example combination");
const TEMPLATE = streamOf("example template");
const WASHED = streamOf("example washed out");
const WRONG = streamOf("example wrong caption");
const WRONG_BACKGROUND = streamOf("example wrong background");
const JITTER = streamOf("example jitter");

const combinationLists = new WeakMap<PictureTask, Map<TrainingSplit, readonly Attributes[]>>();

function combinationsOf(task: PictureTask, split: TrainingSplit): readonly Attributes[] {
  let lists = combinationLists.get(task);
  if (!lists) combinationLists.set(task, (lists = new Map()));
  let list = lists.get(split);
  if (!list) lists.set(split, (list = task.combinations(split)));
  return list;
}

/** The combinations of the split that differ along one axis only. */
function othersAlong(task: PictureTask, attributes: Attributes, axis: Axis, split: TrainingSplit): Attributes[] {
  return axis.values
    .filter((value) => value !== attributes[axis.name])
    .map((value): Attributes => ({ ...attributes, [axis.name]: value }))
    .filter((other) => task.splitOf(other) === split);
}

/** The same on another background of the split, drawn evenly; undefined where the split has none. */
function otherBackground(
  task: PictureTask,
  attributes: Attributes,
  split: TrainingSplit,
  seed: number,
  index: number,
): Attributes | undefined {
  const axis = task.axes.find(({ name }) => name === "background");
  const others = axis ? othersAlong(task, attributes, axis, split) : [];
  return others[intAt(seed, WRONG_BACKGROUND, index, Math.max(1, others.length))];
}

/**
 * Example `index` of the stream `seed`, a pure function of both. A wrong caption names another background whose combination is of the same
 * split, so that no held-out caption ever occurs; an object with a single background in the split keeps its right caption.
 */
export function trainingExample(
  task: PictureTask,
  seed: number,
  index: number,
  mix: DataMix = WEB_MIX,
  split: TrainingSplit = "train",
): TrainingExample {
  const combinations = combinationsOf(task, split);
  if (combinations.length === 0) throw new DataError(task.name, 0, split, "has no combinations");
  const attributes = combinations[intAt(seed, COMBINATION, index, combinations.length)]!;
  const washedOut = uniformAt(seed, WASHED, index) < mix.washedOut;
  const jitter = JITTERS[intAt(seed, JITTER, index, JITTERS.length)]!;
  const wrong = uniformAt(seed, WRONG, index) < mix.wrongCaption;
  const told = (wrong && otherBackground(task, attributes, split, seed, index)) || attributes;
  const caption = task.captionOf(told, intAt(seed, TEMPLATE, index, task.trainingTemplates));
  const rgb = task.render(attributes, { washedOut, jitter });
  return { rgb, caption, attributes, washedOut, captionWrong: told !== attributes, jitter };
}

const NEAR_AXIS = streamOf("nearly right axis");
const NEAR_VALUE = streamOf("nearly right value");

/** The same but for one attribute, drawn evenly by axis and by value; undefined where the split has no such combination. */
function nearMiss(
  task: PictureTask,
  attributes: Attributes,
  split: TrainingSplit,
  seed: number,
  index: number,
): Attributes | undefined {
  const axis = task.axes[intAt(seed, NEAR_AXIS, index, task.axes.length)]!;
  const others = othersAlong(task, attributes, axis, split);
  return others[intAt(seed, NEAR_VALUE, index, Math.max(1, others.length))];
}

/**
 * Picture `index` of those that a search for a caption of `attributes` finds, HWC bytes: a pure function of (seed, index). A share `misses` of them
 * shows something else in one attribute, and as many are washed out as in the mix.
 */
export function foundPicture(
  task: PictureTask,
  attributes: Attributes,
  seed: number,
  index: number,
  misses: number,
  mix: DataMix = WEB_MIX,
  split: TrainingSplit = "train",
): Uint8Array {
  const washedOut = uniformAt(seed, WASHED, index) < mix.washedOut;
  const jitter = JITTERS[intAt(seed, JITTER, index, JITTERS.length)]!;
  const missed = uniformAt(seed, WRONG, index) < misses;
  const shown = (missed && nearMiss(task, attributes, split, seed, index)) || attributes;
  return task.render(shown, { washedOut, jitter });
}

/**
 * A caption of what example `index` of the stream `seed` shows, but for one attribute; undefined where no such combination is in the split. A pure
 * function, and as for the examples no caption of another split.
 */
export function nearlyRightCaption(
  task: PictureTask,
  seed: number,
  index: number,
  split: TrainingSplit = "train",
): string | undefined {
  const combinations = combinationsOf(task, split);
  const attributes = combinations[intAt(seed, COMBINATION, index, combinations.length)]!;
  const wrong = nearMiss(task, attributes, split, seed, index);
  return wrong && task.captionOf(wrong, intAt(seed, TEMPLATE, index, task.trainingTemplates));
}
