/** Sample grids: fixed prompts and fixed seeds, so that picture k is the same wish in every grid of a run. */
import type { TextToImagePipeline } from "@refl/models";
import { planesToBytes } from "../data/pixels.ts";
import { trainPrompts } from "../data/splits/train.ts";
import type { PictureTask } from "../data/task.ts";
import type { SampleGrid } from "../events.ts";
import { layoutGrid, type RgbImage } from "../io/grid.ts";

/** Picture `index` of a batch [N, 3, size, size] in 0..1 as bytes. */
export function imageAt(rgb: Float32Array, index: number, size: number): RgbImage {
  return { width: size, height: size, rgb: planesToBytes(rgb, size * size, index * 3 * size * size) };
}

/** Prompts of the grids. */
const GRID = 16;

/** Grids every `every` steps of a training; in each, picture k is the same training prompt from the same seed. */
export function trainingGrids(
  task: PictureTask,
  pipeline: TextToImagePipeline,
  config: { readonly sampleEvery: number; readonly samplerSteps: number; readonly guidance: number },
): { readonly every: number; readonly draw: () => Promise<SampleGrid> } {
  const prompts = trainPrompts(task, GRID, 1).map((p) => p.text);
  return {
    every: config.sampleEvery,
    draw: () => sampleGrid(pipeline, prompts, 1, config.samplerSteps, config.guidance),
  };
}

/** Draws the grid of `prompts`; picture k has seed `seed` and index k. */
export async function sampleGrid(
  pipeline: TextToImagePipeline,
  prompts: readonly string[],
  seed: number,
  samplerSteps: number,
  guidance: number,
): Promise<SampleGrid> {
  const drawn = await pipeline.generate({ prompts, seeds: seed, steps: samplerSteps, guidanceScale: guidance });
  const rgb = (await drawn.data()) as Float32Array;
  const size = drawn.shape[2]!;
  drawn.dispose();
  const images = prompts.map((_, i) => imageAt(rgb, i, size));
  return layoutGrid(images, { scale: Math.max(1, Math.floor(96 / size)), captions: prompts });
}
