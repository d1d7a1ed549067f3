/** Pictures as Pillow holds them: bytes with a mode, and the conversion to RGB. */
import { ShapeError } from "@refl/tensor";

/**
 * `L` grey, `LA` grey with alpha, `RGB`, `RGBA`; `P` colours that came from a palette (held as RGB) and `1` black and white (held as grey, 0 or
 * 255), which Pillow never blends when it resizes.
 */
export type PillowMode = "L" | "LA" | "RGB" | "RGBA" | "P" | "1";

export interface PillowImage {
  readonly mode: PillowMode;
  readonly width: number;
  readonly height: number;
  /** Row by row, channels together: `width · height · pillowChannels(mode)` bytes. */
  readonly data: Uint8Array;
}

/** Bytes of a pixel. */
export function pillowChannels(mode: PillowMode): number {
  switch (mode) {
    case "L":
    case "1":
      return 1;
    case "LA":
      return 2;
    case "RGB":
    case "P":
      return 3;
    case "RGBA":
      return 4;
  }
}

/** @throws ShapeError unless `data` has as many bytes as mode and size ask for */
export function checkPillowImage(op: string, { mode, width, height, data }: PillowImage): void {
  const channels = pillowChannels(mode);
  if (width < 1 || height < 1 || data.length !== width * height * channels) {
    throw new ShapeError(op, [[height, width, channels], [data.length]], "needs height x width x channels bytes");
  }
}

/** As `image.convert("RGB")`: grey three times, alpha dropped (not blended). */
export function pillowToRgb(image: PillowImage): PillowImage {
  checkPillowImage("pillowToRgb", image);
  const { mode, width, height, data } = image;
  if (mode === "RGB" || mode === "P") return { mode: "RGB", width, height, data };
  const channels = pillowChannels(mode);
  const grey = channels < 3;
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0, from = 0; i < rgb.length; i += 3, from += channels) {
    for (let c = 0; c < 3; c++) rgb[i + c] = data[from + (grey ? 0 : c)] as number;
  }
  return { mode: "RGB", width, height, data: rgb };
}
