/** Augmented renders for the second judge: a classifier that learns objects from these alone and never sees a generated picture. */
import { allCombinations, JITTERS } from "../data/combinations.ts";
import { intAt, normalAt, streamOf, uniformAt } from "../data/random.ts";
import type { Attributes, PictureTask } from "../data/task.ts";

/** An augmented render, HWC bytes, with its object's name and its place in `objectNames`. */
export interface AugmentedRender {
  readonly rgb: Uint8Array;
  readonly attributes: Attributes;
  readonly object: string;
  readonly label: number;
}

const COMBINATION = streamOf("augment combination");
const JITTER = streamOf("augment jitter");
const LOOK = streamOf("augment look");
const BLUR = streamOf("augment blur");
const BRIGHTNESS = streamOf("augment brightness");
const CONTRAST = streamOf("augment contrast");
const NOISE_LEVEL = streamOf("augment noise level");
const NOISE = streamOf("augment noise");

/** The object that attributes ask for: the values of the object's axes, e.g. "apple" or "red circle". */
export const objectOf = (task: PictureTask, attributes: Attributes): string =>
  task.objectAxes.map((axis) => attributes[axis]).join(" ");

/** All objects of a task in a fixed order: the second judge's classes. */
export function objectNames(task: PictureTask): string[] {
  return [...new Set(allCombinations(task.axes).map((attributes) => objectOf(task, attributes)))];
}

/** One pass of a 3 x 3 binomial blur mixed in by `share`, on HWC values; edges repeat. */
function blur(values: Float64Array, size: number, share: number): void {
  const source = Float64Array.from(values);
  const at = (x: number, y: number, c: number): number => {
    const cx = Math.min(size - 1, Math.max(0, x));
    const cy = Math.min(size - 1, Math.max(0, y));
    return source[(cy * size + cx) * 3 + c]!;
  };
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let dy = -1; dy <= 1; dy++) {
          for (let dx = -1; dx <= 1; dx++) sum += at(x + dx, y + dy, c) * (2 - Math.abs(dx)) * (2 - Math.abs(dy));
        }
        const o = (y * size + x) * 3 + c;
        values[o] = (1 - share) * source[o]! + (share * sum) / 16;
      }
    }
  }
}

const combinationLists = new WeakMap<PictureTask, { combinations: Attributes[]; objects: string[] }>();

/** Picture `index` of the stream `seed`, a pure function of both: any combination, vivid or washed out, shifted, blurred, re-lit and noisy. */
export function augmentedRender(task: PictureTask, seed: number, index: number): AugmentedRender {
  let lists = combinationLists.get(task);
  if (!lists) {
    lists = { combinations: allCombinations(task.axes), objects: objectNames(task) };
    combinationLists.set(task, lists);
  }
  const { combinations, objects } = lists;
  const attributes = combinations[intAt(seed, COMBINATION, index, combinations.length)]!;
  const washedOut = uniformAt(seed, LOOK, index) < 0.5;
  const jitter = JITTERS[intAt(seed, JITTER, index, JITTERS.length)]!;
  const values = Float64Array.from(task.render(attributes, { washedOut, jitter }));
  blur(values, task.size, uniformAt(seed, BLUR, index));
  const shift = 40 * (uniformAt(seed, BRIGHTNESS, index) - 0.5);
  const gain = 0.75 + 0.5 * uniformAt(seed, CONTRAST, index);
  // Washed-out pictures have less contrast than half: the same noise would hide their objects wholly.
  const noise = (washedOut ? 12 : 30) * uniformAt(seed, NOISE_LEVEL, index);
  const rgb = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const lit = 128 + gain * (values[i]! - 128) + shift + noise * normalAt(seed, NOISE, index, i);
    rgb[i] = Math.round(Math.min(255, Math.max(0, lit)));
  }
  const object = objectOf(task, attributes);
  return { rgb, attributes, object, label: objects.indexOf(object) };
}
