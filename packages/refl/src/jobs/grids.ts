/** Sample grids: fixed prompts and fixed seeds, so that picture k is the same wish in every grid of a run. */
import type { TextToImagePipeline } from "@refl/models";
import { planesToBytes } from "../data/pixels.ts";
import type { SampleGrid } from "../events.ts";
import { layoutGrid, type RgbImage } from "../io/grid.ts";

/** Picture `index` of a batch [N, 3, size, size] in 0..1 as bytes. */
export function imageAt(rgb: Float32Array, index: number, size: number): RgbImage {
  return { width: size, height: size, rgb: planesToBytes(rgb, size * size, index * 3 * size * size) };
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
