/** What every picture task shares: the product of its axes, attribute checks, and captions read over a closed vocabulary. */
import { DataError } from "@refl/tensor";
import type { Attributes, Axis, Jitter, ParsedCaption } from "./task.ts";

/** All combinations of the axes' values, the last axis running fastest. */
export function allCombinations(axes: readonly Axis[]): Attributes[] {
  let combinations: Attributes[] = [{}];
  for (const axis of axes) {
    combinations = combinations.flatMap((partial) => axis.values.map((value) => ({ ...partial, [axis.name]: value })));
  }
  return combinations;
}

/** Throws DataError unless the attributes have exactly one known value for every axis. */
export function checkAttributes(task: string, axes: readonly Axis[], attributes: Attributes): void {
  for (const axis of axes) {
    const value = attributes[axis.name];
    if (value === undefined) throw new DataError(task, 0, axis.name, `missing; one of ${axis.values.join(", ")}`);
    if (!axis.values.includes(value)) {
      throw new DataError(task, 0, axis.name, `"${value}" is not one of ${axis.values.join(", ")}`);
    }
  }
  for (const name of Object.keys(attributes)) {
    if (!axes.some((axis) => axis.name === name)) {
      throw new DataError(task, 0, name, `no such attribute; ${task} has ${axes.map((axis) => axis.name).join(", ")}`);
    }
  }
}

/** Throws DataError unless both shifts are whole pixels from -1 to 1. */
export function checkJitter(task: string, jitter: Jitter): void {
  if (!jitter.every((shift) => shift === -1 || shift === 0 || shift === 1)) {
    throw new DataError(task, 0, "jitter", `[${jitter.join(", ")}]: both must be -1, 0 or 1`);
  }
}

/** The nine shifts that a picture can have. */
export const JITTERS: readonly Jitter[] = [-1, 0, 1].flatMap((dy) => [-1, 0, 1].map((dx): Jitter => [dx, dy]));

/** The words of a caption: lower case, cut at everything that is neither a letter, a digit nor an apostrophe inside a word. */
export function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+(?:['’][\p{L}\p{N}]+)*/gu) ?? [];
}

/** Reads a caption: an axis is named when the words of exactly one of its values occur. Word order and repeated words do not matter. */
export function parseWords(text: string, axes: readonly Axis[], vocabulary: readonly string[]): ParsedCaption {
  const words = new Set(wordsOf(text));
  const named: Record<string, string> = {};
  const missing: string[] = [];
  for (const axis of axes) {
    const hits = axis.values.filter((value) => words.has(value));
    if (hits.length === 1) named[axis.name] = hits[0]!;
    else missing.push(axis.name);
  }
  const unknown = [...words].filter((word) => !vocabulary.includes(word));
  return { attributes: missing.length === 0 ? named : undefined, named, unknown, missing };
}
