/** Drawing pictures for prompts and having them ranked by a simulated annotator. */
import type { TextToImagePipeline } from "@refl/models";
import { planesToBytes } from "../data/pixels.ts";
import type { PictureTask, Prompt } from "../data/task.ts";
import { drawPictures } from "../evaluate/pictures.ts";
import type { Run } from "../events.ts";
import { rank } from "../judge/annotator.ts";
import { type RankedPictures, rankedPictures } from "../train/pairs.ts";
import { inStage, type StageSeconds } from "./stage.ts";

export interface RankingOptions {
  readonly imagesPerPrompt: number;
  readonly taste: string;
  readonly seed: number;
  readonly samplerSteps: number;
  readonly guidance: number;
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
  const { imagesPerPrompt: each, seed, signal } = options;
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
  return yield* inStage("annotate", `taste ${options.taste}`, seconds, base.device, async () => {
    const values = 3 * task.size * task.size;
    const nameOf = (item: number, place: number): string => String(item * each + place);
    const comparisons = rank(task, rgb, prompts, { seed, taste: options.taste, nameOf, idOf: String });
    const pictureOf = (name: string): Uint8Array => planesToBytes(rgb, task.size * task.size, Number(name) * values);
    return comparisons.map((comparison) => ({
      ...rankedPictures([comparison], pictureOf)[0]!,
      item: Number(comparison.id),
    }));
  });
}
