/** Simulated annotators: they rank pictures by a taste, with noise, ties, a bias to the left of the screen, and carelessness. */
import { DataError, ShapeError } from "@refl/tensor";
import type { Comparison } from "../data/comparisons.ts";
import { intAt, shuffleAt, streamOf, uniformAt } from "../data/random.ts";
import type { PictureTask, Prompt } from "../data/task.ts";
import { judgePictures } from "./exact.ts";
import { tasteNamed } from "./taste.ts";

/** How one annotator ranks. Utilities are taste scores, 0..1. */
export interface AnnotatorProfile {
  readonly name: string;
  /** Bradley-Terry temperature: better by u is preferred with probability 1 / (1 + exp(-u / temperature)). 0 is free of noise. */
  readonly temperature: number;
  /** Pictures whose felt utilities differ by no more than this from the best of their rank share it. */
  readonly tie: number;
  /** Utility that the leftmost place on the screen adds over the rightmost. */
  readonly leftBias: number;
  /** Share of items answered at random, 0..1. */
  readonly careless: number;
}

// A tie is what differs by less than half of the least attribute (a layout, 0.11 of the score): nobody tells two pictures apart by a hundredth.
const CAREFUL = { temperature: 0.03, tie: 0.05, leftBias: 0.01, careless: 0 };

/** Four careful annotators and one who answers a fifth of the items at random. */
export const DEFAULT_ANNOTATORS: readonly AnnotatorProfile[] = [
  { name: "ann", ...CAREFUL },
  { name: "ben", ...CAREFUL },
  { name: "cem", ...CAREFUL },
  { name: "dua", ...CAREFUL },
  { name: "eli", ...CAREFUL, careless: 0.2 },
];

/** One annotator without noise, ties by rounding only, bias or carelessness. */
export const ORACLE: readonly AnnotatorProfile[] = [
  { name: "oracle", temperature: 0, tie: 1e-9, leftBias: 0, careless: 0 },
];

/** Options of `rank`. */
export interface RankOptions {
  readonly seed: number;
  /** A preset of TASTES; `judge` if not given. */
  readonly taste?: string;
  /** Each item goes to one of these. */
  readonly annotators?: readonly AnnotatorProfile[];
  /** Share of items that a second annotator ranks too, 0..1; 0.2 if not given, none with a single annotator. */
  readonly doubled?: number;
  /** Picture names for `generations`; `<id>/<place>.png` if not given. */
  readonly nameOf?: (item: number, place: number) => string;
  /** Ids of the items; `item-<number>` if not given. */
  readonly idOf?: (item: number) => string;
}

const WHO = streamOf("annotator");
const DOUBLED = streamOf("annotator doubled");
const SCREEN = streamOf("annotator screen order");
const CARELESS = streamOf("annotator careless");
const RANDOM_ORDER = streamOf("annotator random order");
const GUMBEL = streamOf("annotator noise");

/** Ranks by descending utility, 1 the best; utilities within `tie` of the first of a rank share it. */
export function ranksOf(utilities: readonly number[], tie: number): number[] {
  const order = utilities.map((_, i) => i).sort((a, b) => utilities[b]! - utilities[a]! || a - b);
  const ranking = new Array<number>(utilities.length).fill(0);
  let rank = 0;
  let head = Number.POSITIVE_INFINITY;
  for (const i of order) {
    if (rank === 0 || head - utilities[i]! > tie) {
      rank++;
      head = utilities[i]!;
    }
    ranking[i] = rank;
  }
  return ranking;
}

/**
 * One annotator's ranking of one item, a pure function of (seed, item, annotator). Gumbel noise of scale `temperature` on every utility makes
 * each pair follow Bradley-Terry and the whole order Plackett-Luce (Yellott 1977).
 */
export function annotate(
  profile: AnnotatorProfile,
  utilities: readonly number[],
  seed: number,
  item: number,
): { ranking: number[]; careless: boolean } {
  const own = streamOf(profile.name);
  const count = utilities.length;
  if (uniformAt(seed, CARELESS ^ own, item) < profile.careless) {
    const order = shuffleAt(seed, RANDOM_ORDER ^ own, item, count);
    return { ranking: order.map((place) => place + 1), careless: true };
  }
  const screen = shuffleAt(seed, SCREEN ^ own, item, count);
  const felt = utilities.map((utility, i) => {
    const bias = count > 1 ? profile.leftBias * (1 - screen[i]! / (count - 1)) : 0;
    const noise = -Math.log(-Math.log(uniformAt(seed, GUMBEL ^ own, item, i) + 2 ** -33));
    return utility + bias + profile.temperature * noise;
  });
  return { ranking: ranksOf(felt, profile.tie), careless: false };
}

/**
 * Ranks items of which the utilities are known: `utilities[n][k]` is the taste's score of picture k of prompt n. Item n, its annotators and
 * their answers are a pure function of (seed, n); an item ranked twice gives two comparisons with one id.
 */
export function rankUtilities(
  utilities: readonly (readonly number[])[],
  prompts: readonly Prompt[],
  options: RankOptions,
): Comparison[] {
  const { seed, annotators = DEFAULT_ANNOTATORS, doubled = 0.2, idOf = (item) => `item-${item}` } = options;
  const { nameOf = (item, place) => `${idOf(item)}/${place}.png` } = options;
  if (annotators.length === 0) throw new DataError("rank", 0, "annotators", "must name at least one annotator");
  return utilities.flatMap((ofItem, item) => {
    const first = intAt(seed, WHO, item, annotators.length);
    const who = [annotators[first]!];
    if (annotators.length > 1 && uniformAt(seed, DOUBLED, item) < doubled) {
      const step = 1 + intAt(seed, WHO, item, annotators.length - 1, 1);
      who.push(annotators[(first + step) % annotators.length]!);
    }
    return who.map((profile) => ({
      id: idOf(item),
      prompt: prompts[item]!.text,
      generations: ofItem.map((_, place) => nameOf(item, place)),
      ranking: annotate(profile, ofItem, seed, item).ranking,
      annotator: profile.name,
    }));
  });
}

/**
 * Judges pictures, floats 0..1 [prompts * k, 3, H, W] with each prompt's k pictures next to each other, and ranks each prompt's pictures by a
 * taste. Deterministic by (seed, item). ShapeError when the pictures do not divide among the prompts; DataError for an unknown taste.
 */
export function rank(
  task: PictureTask,
  pictures: Float32Array,
  prompts: readonly Prompt[],
  options: RankOptions,
): Comparison[] {
  const each = 3 * task.size * task.size;
  const perPrompt = pictures.length / each / prompts.length;
  if (!Number.isInteger(perPrompt) || perPrompt < 2) {
    const hint = `${prompts.length} prompts need [${prompts.length} * k, 3, ${task.size}, ${task.size}], k at least 2`;
    throw new ShapeError("rank", [[pictures.length]], hint);
  }
  const taste = tasteNamed(options.taste ?? "judge", task);
  const asked = prompts.flatMap(({ attributes }) => Array.from({ length: perPrompt }, () => attributes));
  const scores = judgePictures(task, pictures, asked).pictures.map((judged) => taste.score(task, judged));
  const utilities = prompts.map((_, n) => scores.slice(n * perPrompt, (n + 1) * perPrompt));
  return rankUtilities(utilities, prompts, options);
}
