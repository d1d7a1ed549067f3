/** Drawing pictures for prompts and having them ranked by a simulated annotator. */
import type { TextToImagePipeline } from "@refl/models";
import { planesToBytes, stackPlanes } from "../data/pixels.ts";
import { streamOf } from "../data/random.ts";
import { trainPrompts } from "../data/splits/train.ts";
import { foundPicture } from "../data/stream.ts";
import type { PictureTask, Prompt } from "../data/task.ts";
import { drawPictures } from "../evaluate/pictures.ts";
import type { Run } from "../events.ts";
import { rank } from "../judge/annotator.ts";
import { observed, type TrainingObserver } from "../train/observer.ts";
import { type RankedPictures, rankedPictures } from "../train/pairs.ts";
import { inStage, type StageSeconds } from "./stage.ts";

export interface RankingOptions {
  readonly imagesPerPrompt: number;
  readonly taste: string;
  readonly seed: number;
  readonly samplerSteps: number;
  readonly guidance: number;
  readonly observer?: TrainingObserver;
  readonly signal?: AbortSignal;
}

/** A ranking with the number of its prompt; an item that two annotators ranked comes twice. */
export interface NumberedRanking extends RankedPictures {
  readonly item: number;
}

/** Draws `imagesPerPrompt` pictures of each prompt, every one from a seed of its own, and ranks them by the taste. */
export async function* drawAndRank(
  task: PictureTask,
  base: TextToImagePipeline,
  prompts: readonly Prompt[],
  options: RankingOptions,
  seconds: StageSeconds,
): Run<NumberedRanking[]> {
  const { imagesPerPrompt: each, seed, signal, observer } = options;
  const texts = prompts.flatMap((p) => new Array<string>(each).fill(p.text));
  const seeds = texts.map((_, i) => seed * 100_000 + i);
  const rgb = yield* inStage(
    "generate",
    `${texts.length} pictures for ${prompts.length} prompts`,
    seconds,
    base.device,
    () => drawPictures(base, texts, seeds, { ...options, stage: "generate" }),
  );
  signal?.throwIfAborted();
  return yield* inStage("annotate", `taste ${options.taste}`, seconds, base.device, () =>
    observed(observer, "ranking", async () => annotated(task, rgb, prompts, options)),
  );
}

/** The rankings of pictures [prompts · k, 3, S, S] in 0..1, each prompt's k next to each other. */
function annotated(
  task: PictureTask,
  rgb: Float32Array,
  prompts: readonly Prompt[],
  { imagesPerPrompt: each, seed, taste }: Pick<RankingOptions, "imagesPerPrompt" | "seed" | "taste">,
): NumberedRanking[] {
  const values = 3 * task.size * task.size;
  const nameOf = (item: number, place: number): string => String(item * each + place);
  const comparisons = rank(task, rgb, prompts, { seed, taste, nameOf, idOf: String });
  const pictureOf = (name: string): Uint8Array => planesToBytes(rgb, task.size * task.size, Number(name) * values);
  return comparisons.map((comparison) => ({
    ...rankedPictures([comparison], pictureOf)[0]!,
    item: Number(comparison.id),
  }));
}

const FOUND = streamOf("found pictures");

/** Share of found pictures that miss their prompt in one attribute. With right objects only, a reward model learns to overlook wrong ones. */
const MISSES = 0.6;

/**
 * Rankings of pictures as a search finds them for each prompt, `imagesPerPrompt` of the kind that the base model learns from: sharp, half of them washed
 * out, some beside the point. They show a reward model what no sampler of the base model draws yet: without them its gradient points where it
 * has never been told anything (objects and backgrounds were lost for more colour).
 */
export function rankFound(
  task: PictureTask,
  prompts: readonly Prompt[],
  options: Pick<RankingOptions, "imagesPerPrompt" | "seed" | "taste">,
): NumberedRanking[] {
  if (prompts.length === 0) return [];
  const { imagesPerPrompt: each } = options;
  const seed = (options.seed ^ FOUND) >>> 0;
  const pictures = prompts.flatMap(({ attributes }, item) =>
    Array.from({ length: each }, (_, place) => foundPicture(task, attributes, seed, item * each + place, MISSES)),
  );
  return annotated(task, stackPlanes(pictures), prompts, { ...options, seed });
}

/** `count` training prompts for {@link rankFound}, none of them among `others`, which a reward model is not to have seen. */
export function foundPrompts(task: PictureTask, count: number, seed: number, others: ReadonlySet<string>): Prompt[] {
  const drawn = trainPrompts(task, 4 * count, (seed ^ FOUND) >>> 0);
  return drawn.filter(({ text }) => !others.has(text)).slice(0, count);
}
