/** Pictures as bytes, and their layout in a grid of rows and columns with nearest upscaling. */
import { ShapeError } from "@refl/tensor";
import type { SampleGrid } from "../events.ts";

/** A picture: `height` x `width` x 3 bytes, row-major, sRGB. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly rgb: Uint8Array;
}

/** How pictures are laid out in a grid. */
export interface GridOptions {
  /** Pictures per row; the nearest whole number to the square root of their count when absent. */
  readonly columns?: number;
  /** Each pixel becomes scale x scale pixels; 1 when absent. */
  readonly scale?: number;
  /** Pixels (after scaling) between neighbours and at the rim; 2 when absent. */
  readonly gap?: number;
  /** Colour of the gaps and of empty places, as three bytes; white when absent. */
  readonly background?: readonly [number, number, number];
  /** One per picture; empty when absent. */
  readonly captions?: readonly string[];
}

/**
 * Lays out N pictures of one size in rows, picture k in column k % columns; each pixel is repeated `scale` times in both directions.
 * Throws `ShapeError` when there is none, when sizes differ, when a buffer is not height x width x 3 long, or when captions are not one per picture.
 */
export function layoutGrid(images: readonly RgbImage[], options: GridOptions = {}): SampleGrid {
  const first = images[0];
  if (!first) throw new ShapeError("layoutGrid", [], "a grid needs at least one picture");
  const { scale = 1, gap = 2, background = [255, 255, 255] } = options;
  const columns = Math.min(images.length, options.columns ?? Math.max(1, Math.round(Math.sqrt(images.length))));
  if (
    !(
      Number.isInteger(columns) &&
      columns > 0 &&
      Number.isInteger(scale) &&
      scale > 0 &&
      Number.isInteger(gap) &&
      gap >= 0
    )
  )
    throw new ShapeError(
      "layoutGrid",
      [[columns, scale, gap]],
      "columns and scale are whole and positive, gap is whole and not negative",
    );
  const captions = options.captions ?? images.map(() => "");
  if (captions.length !== images.length)
    throw new ShapeError("layoutGrid", [[images.length], [captions.length]], "one caption per picture");
  for (const image of images) {
    if (image.width !== first.width || image.height !== first.height)
      throw new ShapeError(
        "layoutGrid",
        [
          [first.height, first.width, 3],
          [image.height, image.width, 3],
        ],
        "all pictures of a grid have one size",
      );
    if (image.rgb.length !== image.width * image.height * 3)
      throw new ShapeError("layoutGrid", [[image.rgb.length]], `expected ${image.height} x ${image.width} x 3 bytes`);
  }
  const rows = Math.ceil(images.length / columns);
  const cellWidth = first.width * scale + gap;
  const cellHeight = first.height * scale + gap;
  const width = columns * cellWidth + gap;
  const height = rows * cellHeight + gap;
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0; i < rgb.length; i += 3) rgb.set(background, i);
  images.forEach((image, k) => {
    const left = gap + (k % columns) * cellWidth;
    const top = gap + Math.floor(k / columns) * cellHeight;
    for (let y = 0; y < image.height * scale; y++) {
      const source = Math.floor(y / scale) * image.width;
      const target = (top + y) * width + left;
      for (let x = 0; x < image.width * scale; x++) {
        const from = (source + Math.floor(x / scale)) * 3;
        rgb.set(image.rgb.subarray(from, from + 3), (target + x) * 3);
      }
    }
  });
  return { width, height, rgb, columns, captions };
}
