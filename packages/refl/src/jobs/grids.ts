/** Sample grids: fixed prompts and fixed seeds, so that picture k is the same wish in every grid of a run. */
import type { TextToImagePipeline } from "@refl/models";
import { planesToBytes } from "../data/pixels.ts";
import type { SampleGrid } from "../events.ts";
import { layoutGrid, type RgbImage } from "../io/grid.ts";
import { picturesAtOnce } from "./batch.ts";

/** Picture `index` of a batch [N, 3, size, size] in 0..1 as bytes. */
export function imageAt(rgb: Float32Array, index: number, size: number): RgbImage {
  return pictureAt(rgb, index, size, size);
}

function pictureAt(rgb: Float32Array, index: number, height: number, width: number): RgbImage {
  return { width, height, rgb: planesToBytes(rgb, height * width, index * 3 * height * width) };
}

/** How grids are drawn. */
export interface GridOptions {
  readonly samplerSteps: number;
  readonly guidance: number;
  /** Height and width in pixels. Default those of the model. */
  readonly size?: readonly [height: number, width: number];
}

/** Grids every `sampleEvery` steps of a training; in each, picture k is the same prompt from the same seed. */
export function trainingGrids(
  prompts: readonly string[],
  pipeline: TextToImagePipeline,
  options: GridOptions & { readonly sampleEvery: number },
): { readonly every: number; readonly draw: () => Promise<SampleGrid> } {
  return { every: options.sampleEvery, draw: () => sampleGrid(pipeline, prompts, 1, options) };
}

/** Draws the grid of `prompts`; picture k has seed `seed` and index k. */
export async function sampleGrid(
  pipeline: TextToImagePipeline,
  prompts: readonly string[],
  seed: number,
  { samplerSteps, guidance, size = pipeline.defaultSize }: GridOptions,
): Promise<SampleGrid> {
  const [height, width] = size;
  const images: RgbImage[] = [];
  const most = picturesAtOnce(size);
  for (let first = 0; first < prompts.length; first += most) {
    const part = prompts.slice(first, first + most);
    const seeds = part.map((_, i) => ({ seed, index: first + i }));
    const drawn = await pipeline.generate({ prompts: part, seeds, steps: samplerSteps, guidanceScale: guidance, size });
    const rgb = (await drawn.data()) as Float32Array;
    drawn.dispose();
    images.push(...part.map((_, i) => pictureAt(rgb, i, height, width)));
  }
  return layoutGrid(images, { scale: Math.max(1, Math.floor(96 / height)), captions: prompts });
}
