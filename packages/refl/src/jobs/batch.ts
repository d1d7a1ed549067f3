/** How many pictures are drawn at once: a batch changes no pixel, only memory and speed. */

/** Pixels drawn at once, so that one picture of Stable Diffusion's 512 x 512 is. */
const PIXELS = 2 ** 18;
const MOST = 64;

/** Pictures of that size in pixels that are drawn together: 64 small ones or one large one. */
export function picturesAtOnce([height, width]: readonly [height: number, width: number]): number {
  return Math.min(MOST, Math.max(1, Math.floor(PIXELS / (height * width))));
}
