/** Drawing pictures for ranking and evaluation: batches of prompts with a seed each, the same pixels in any batch. */
import type { TextToImagePipeline } from "@refl/models";
import type { Run, StageName } from "../events.ts";
import { observed, type TrainingObserver } from "../train/observer.ts";

export interface DrawOptions {
  readonly samplerSteps: number;
  readonly guidance?: number;
  /** Pictures at once; memory grows with it, pixels do not change. Default 64. */
  readonly batchSize?: number;
  readonly stage: StageName;
  readonly observer?: TrainingObserver;
  readonly signal?: AbortSignal;
}

/** Pictures [N, 3, S, S] in 0..1, one for each prompt and seed. Stops after a batch once `signal` is set and returns what there is. */
export async function* drawPictures(
  pipeline: TextToImagePipeline,
  prompts: readonly string[],
  seeds: readonly number[],
  options: DrawOptions,
): Run<Float32Array> {
  const { batchSize = 64, stage, samplerSteps, guidance = 1, signal, observer } = options;
  const parts: Float32Array[] = [];
  for (let start = 0; start < prompts.length && !signal?.aborted; start += batchSize) {
    const end = Math.min(start + batchSize, prompts.length);
    const draw = async (): Promise<void> => {
      const drawn = await pipeline.generate({
        prompts: prompts.slice(start, end),
        seeds: seeds.slice(start, end),
        steps: samplerSteps,
        guidanceScale: guidance,
      });
      parts.push((await drawn.data()) as Float32Array);
      drawn.dispose();
    };
    await observed(observer, "pictures", draw);
    yield { type: "step", stage, step: end, total: prompts.length, metrics: {} };
  }
  const all = new Float32Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
