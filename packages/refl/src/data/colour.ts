/** Colours of the picture tasks: blending and the washed-out look of careless web pictures. */

/** sRGB, each channel 0..255. */
export type Rgb = readonly [number, number, number];

const PALE_GREY = 205;
const SATURATION_KEPT = 0.4;
const CONTRAST_KEPT = 0.45;

/** A washed-out channel value: most saturation and contrast lost, the rest drawn towards a pale grey. `luma` is the pixel's Rec. 601 luma. */
export const washOut = (value: number, luma: number): number =>
  PALE_GREY + CONTRAST_KEPT * (luma + SATURATION_KEPT * (value - luma) - PALE_GREY);

/** Rec. 601 luma of an sRGB pixel, 0..255. */
export const lumaOf = (r: number, g: number, b: number): number => 0.299 * r + 0.587 * g + 0.114 * b;

/** Writes foreground over background at pixel offset `o` of HWC bytes; `alpha` 0..1. */
export function putPixel(out: Uint8Array, o: number, front: Rgb, back: Rgb, alpha: number, washedOut: boolean): void {
  const r = alpha * front[0] + (1 - alpha) * back[0];
  const g = alpha * front[1] + (1 - alpha) * back[1];
  const b = alpha * front[2] + (1 - alpha) * back[2];
  if (washedOut) {
    const luma = lumaOf(r, g, b);
    out[o] = Math.round(washOut(r, luma));
    out[o + 1] = Math.round(washOut(g, luma));
    out[o + 2] = Math.round(washOut(b, luma));
  } else {
    out[o] = Math.round(r);
    out[o + 1] = Math.round(g);
    out[o + 2] = Math.round(b);
  }
}
