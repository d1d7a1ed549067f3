/** Pillow's bicubic resize of 8-bit pictures, bit for bit: anti-aliased, in fixed point, rounded to bytes after each of its two passes. */
import { ShapeError } from "@refl/tensor";
import { checkPillowImage, type PillowImage, type PillowMode, pillowChannels, pillowToRgb } from "./pillow-image.ts";

/** Bits after the point of the weights: eight are the pixel's, two are for overshoot. */
const PRECISION = 22;
const ONE = 2 ** PRECISION;
/** Keys' cubic with a = −1/2 reaches two pixels. */
const SUPPORT = 2;

function cubic(distance: number): number {
  const a = -0.5;
  const x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/** The pixels that an output pixel is made of, and their weights in units of 2^-22. */
interface Taps {
  readonly first: number;
  readonly weights: Int32Array;
}

function tapsOf(from: number, to: number): Taps[] {
  const scale = from / to;
  // A filter that shrinks is stretched: this is what anti-aliases.
  const stretch = Math.max(scale, 1);
  const support = SUPPORT * stretch;
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(from, Math.trunc(center + support + 0.5));
    const weights = Array.from({ length: end - first }, (_, k) => cubic((k + first - center + 0.5) * (1 / stretch)));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return {
      first,
      weights: Int32Array.from(weights, (weight) => {
        const fixed = (weight / sum) * ONE;
        return Math.trunc(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
      }),
    };
  });
}

/**
 * One pass over `lines` lines of pixels: input element (line, k, channel) stands at line·lineStride + k·stride + channel, output likewise.
 */
function pass(
  data: Uint8Array,
  out: Uint8Array,
  taps: readonly Taps[],
  lines: number,
  channels: number,
  from: { line: number; step: number },
  to: { line: number; step: number },
): void {
  for (let line = 0; line < lines; line++) {
    for (const [i, { first, weights }] of taps.entries()) {
      for (let c = 0; c < channels; c++) {
        let sum = ONE / 2;
        let at = line * from.line + first * from.step + c;
        for (let k = 0; k < weights.length; k++) {
          sum += (data[at] as number) * (weights[k] as number);
          at += from.step;
        }
        out[line * to.line + i * to.step + c] = Math.min(255, Math.max(0, Math.floor(sum / ONE)));
      }
    }
  }
}

/**
 * Which of the two passes comes first, which shows in the last bit: Pillow 13 begins with the rows where the height shrinks by more than twice
 * what the width does; all before it begin with the columns.
 */
export type PassOrder = "pillow-13" | "horizontal-first";

type Size = readonly [width: number, height: number];

function bicubic(data: Uint8Array, channels: number, size: Size, to: Size, order: PassOrder): Uint8Array {
  const [width, height] = size;
  const [newWidth, newHeight] = to;
  const tall = height > newHeight && height - newHeight > 2 * (width - newWidth);
  if (order === "pillow-13" && tall) {
    return horizontally(vertically(data, channels, size, newHeight), channels, [width, newHeight], newWidth);
  }
  return vertically(horizontally(data, channels, size, newWidth), channels, [newWidth, height], newHeight);
}

function horizontally(data: Uint8Array, channels: number, [width, height]: Size, newWidth: number): Uint8Array {
  if (newWidth === width) return data;
  const out = new Uint8Array(newWidth * height * channels);
  const from = { line: width * channels, step: channels };
  pass(data, out, tapsOf(width, newWidth), height, channels, from, { line: newWidth * channels, step: channels });
  return out;
}

function vertically(data: Uint8Array, channels: number, [width, height]: Size, newHeight: number): Uint8Array {
  if (newHeight === height) return data;
  const out = new Uint8Array(width * newHeight * channels);
  const column = { line: channels, step: width * channels };
  pass(data, out, tapsOf(height, newHeight), width, channels, column, column);
  return out;
}

/** The input place of each output place; positions are added up, and so are their rounding errors. */
function nearestPlaces(from: number, to: number): number[] {
  const scale = from / to;
  let at = scale * 0.5;
  return Array.from({ length: to }, () => {
    const place = Math.min(from - 1, Math.trunc(at));
    at += scale;
    return place;
  });
}

function nearest(data: Uint8Array, channels: number, size: Size, to: Size): Uint8Array {
  const columns = nearestPlaces(size[0], to[0]);
  const rows = nearestPlaces(size[1], to[1]);
  const out = new Uint8Array(to[0] * to[1] * channels);
  let o = 0;
  for (const row of rows) {
    for (const column of columns) {
      const at = (row * size[0] + column) * channels;
      for (let c = 0; c < channels; c++) out[o++] = data[at + c] as number;
    }
  }
  return out;
}

/** a·b/255 to the nearest, as Pillow has it without a division. */
function scaled(a: number, b: number): number {
  const product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

function premultiply(data: Uint8Array, channels: number): Uint8Array {
  const out = data.slice();
  for (let i = channels - 1; i < out.length; i += channels) {
    const alpha = out[i] as number;
    for (let c = i - channels + 1; c < i; c++) out[c] = scaled(out[c] as number, alpha);
  }
  return out;
}

/** Undoes `premultiply` in place. */
function divideByAlpha(data: Uint8Array, channels: number): Uint8Array {
  for (let i = channels - 1; i < data.length; i += channels) {
    const alpha = data[i] as number;
    if (alpha === 0 || alpha === 255) continue;
    for (let c = i - channels + 1; c < i; c++) data[c] = Math.min(255, Math.trunc((255 * (data[c] as number)) / alpha));
  }
  return data;
}

const BLENDED_ALPHA: readonly PillowMode[] = ["LA", "RGBA"];
const NOT_BLENDED: readonly PillowMode[] = ["P", "1"];

/**
 * As `image.resize((width, height), Image.BICUBIC)` of Pillow: colours are weighted by alpha; palette and black-and-white pictures take the
 * nearest pixel instead. The image itself when it has that size.
 * @throws ShapeError for sizes below 1 or data that does not fit them
 */
export function pillowResize(
  image: PillowImage,
  width: number,
  height: number,
  order: PassOrder = "pillow-13",
): PillowImage {
  checkPillowImage("pillowResize", image);
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw new ShapeError("pillowResize", [[height, width]], "needs whole numbers of at least 1");
  }
  const { mode, data } = image;
  const channels = pillowChannels(mode);
  const size = [image.width, image.height] as const;
  const to = [width, height] as const;
  if (size[0] === width && size[1] === height) return image;
  if (NOT_BLENDED.includes(mode)) return { mode, width, height, data: nearest(data, channels, size, to) };
  if (!BLENDED_ALPHA.includes(mode)) return { mode, width, height, data: bicubic(data, channels, size, to, order) };
  const out = bicubic(premultiply(data, channels), channels, size, to, order);
  return { mode, width, height, data: divideByAlpha(out, channels) };
}

/** Python's round: halves go to the even neighbour. */
function halfToEven(x: number): number {
  const floor = Math.floor(x);
  return x - floor === 0.5 ? floor + (floor % 2) : Math.round(x);
}

/**
 * What CLIP, BLIP and ImageReward see of a picture when it is scored: the short side resized to `size` (the long one cut to a whole number), the
 * centre cut out, then RGB. → size × size × 3 bytes, row by row. Alpha is dropped after the resize, not blended, as in the original.
 * @throws ShapeError for a size below 1 or data that does not fit the image's
 */
export function pillowSquare(image: PillowImage, size: number, order: PassOrder = "pillow-13"): Uint8Array {
  const { width, height } = image;
  const short = Math.min(width, height);
  const [newWidth, newHeight] = [width, height].map((side) =>
    side === short ? size : Math.trunc((size * side) / short),
  ) as [number, number];
  const { data } = pillowToRgb(pillowResize(image, newWidth, newHeight, order));
  const left = halfToEven((newWidth - size) / 2);
  const top = halfToEven((newHeight - size) / 2);
  const out = new Uint8Array(size * size * 3);
  for (let y = 0; y < size; y++) {
    const start = ((top + y) * newWidth + left) * 3;
    out.set(data.subarray(start, start + size * 3), y * size * 3);
  }
  return out;
}
