/** Captioned pictures to train on, as functions of an index: a task's web-like stream, or a folder of one's own. */
import { DataError } from "@refl/tensor";
import { stackPlanes } from "../data/pixels.ts";
import { intAt, streamOf } from "../data/random.ts";
import { type DataMix, nearlyRightCaption, trainingExample, WEB_MIX } from "../data/stream.ts";
import type { PictureTask } from "../data/task.ts";

/** A picture, HWC bytes of size × size × 3, with its caption. */
export interface Example {
  readonly rgb: Uint8Array;
  readonly caption: string;
}

/** An endless stream of examples; `example(seed, index)` is a pure function, and a promise where the picture has to be read first. */
export interface ExampleSource {
  readonly name: string;
  /** Height and width in pixels. */
  readonly size: number;
  example(seed: number, index: number): Example | Promise<Example>;
  /** All captions, of a source that is a list. */
  readonly captions?: readonly string[];
  /** A caption that is wrong of example `index` in one thing only; undefined where there is none. */
  nearlyRight?(seed: number, index: number): string | undefined;
}

/** Examples that need no reading. */
export interface DrawnExamples extends ExampleSource {
  example(seed: number, index: number): Example;
}

/** A task's training stream: part of the pictures washed out, part of the captions wrong. */
export function taskExamples(task: PictureTask, mix: DataMix = WEB_MIX): DrawnExamples {
  return {
    name: task.name,
    size: task.size,
    example: (seed, index) => trainingExample(task, seed, index, mix),
    nearlyRight: (seed, index) => nearlyRightCaption(task, seed, index),
  };
}

const PICK = streamOf("own example");

/** Given pictures, drawn evenly with replacement. Throws DataError when there are none. */
export function listExamples(name: string, size: number, pictures: readonly Example[]): ExampleSource {
  const captions = pictures.map(({ caption }) => caption);
  return readExamples(name, size, captions, (index) => pictures[index]!);
}

/** As {@link listExamples} of pictures that are read when they are needed; `read` knows them by their number in `captions`. */
export function readExamples(
  name: string,
  size: number,
  captions: readonly string[],
  read: (index: number) => Example | Promise<Example>,
): ExampleSource {
  if (captions.length === 0) throw new DataError(name, 0, "", "holds no captioned pictures");
  return { name, size, captions, example: (seed, index) => read(intAt(seed, PICK, index, captions.length)) };
}

/** Examples first … first + count − 1: `rgb` is [count, 3, size, size] in 0..1. */
export async function exampleBatch(
  source: ExampleSource,
  seed: number,
  first: number,
  count: number,
): Promise<{ rgb: Float32Array; captions: string[] }> {
  const examples = await Promise.all(Array.from({ length: count }, (_, i) => source.example(seed, first + i)));
  return { rgb: stackPlanes(examples.map((e) => e.rgb)), captions: examples.map((e) => e.caption) };
}
