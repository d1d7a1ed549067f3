/** PNG files to bytes of RGB and back, through pngjs on Node. */
import type { PillowImage, PillowMode } from "@refl/models";
import { DataError } from "@refl/tensor";
import { PNG } from "pngjs";
import type { RgbImage } from "./grid.ts";
import { insertPngText, readPngChunks } from "./png-chunks.ts";

/** Pictures of more pixels than this are refused before their memory is taken. */
const MAX_PIXELS = 64 * 1024 * 1024;

/** Encodes a picture as an 8-bit RGB PNG, with text chunks when `texts` has any. The same input gives the same bytes. */
export function encodePng(image: RgbImage, texts: Readonly<Record<string, string>> = {}): Uint8Array {
  const png = new PNG({
    width: image.width,
    height: image.height,
    colorType: 2,
    inputColorType: 2,
    inputHasAlpha: false,
  });
  // pngjs takes packed RGB when inputColorType is 2; its own RGBA buffer is then too long.
  png.data = Buffer.from(image.rgb.buffer, image.rgb.byteOffset, image.rgb.byteLength);
  const bytes = PNG.sync.write(png, { colorType: 2, inputColorType: 2, inputHasAlpha: false });
  const plain = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Object.keys(texts).length ? insertPngText(plain, texts) : plain;
}

/** What the header says, after checking that the picture can be read. */
function readHeader(bytes: Uint8Array, file: string): { width: number; height: number; depth: number; colour: number } {
  const header = readPngChunks(bytes, file)[0]!.data;
  if (header.length !== 13)
    throw new DataError(file, 0, "IHDR", `damaged PNG: a header of ${header.length} bytes, not 13`);
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const width = view.getUint32(0);
  const height = view.getUint32(4);
  if (width === 0 || height === 0 || width * height > MAX_PIXELS)
    throw new DataError(
      file,
      0,
      "IHDR",
      `a size of ${width} x ${height} pixels; 1 to ${MAX_PIXELS} pixels can be read`,
    );
  return { width, height, depth: header[8]!, colour: header[9]! };
}

function readRgba(bytes: Uint8Array, file: string): Uint8Array {
  try {
    const { data } = PNG.sync.read(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  } catch (cause) {
    throw new DataError(file, 0, "", `damaged PNG: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
}

/** The mode that Pillow opens a PNG in, by the header's colour type. */
function modeOf(colour: number, depth: number): PillowMode {
  switch (colour) {
    case 0:
      return depth === 1 ? "1" : "L";
    case 3:
      return "P";
    case 4:
      return "LA";
    case 6:
      return "RGBA";
    default:
      return "RGB";
  }
}

/** Which bytes of a pixel's red, green, blue and alpha a mode keeps. */
const KEPT: Readonly<Record<PillowMode, readonly number[]>> = {
  "1": [0],
  L: [0],
  LA: [0, 3],
  RGB: [0, 1, 2],
  P: [0, 1, 2],
  RGBA: [0, 1, 2, 3],
};

/**
 * Decodes any PNG (every colour type and depth, interlaced or not) to bytes in the mode that Pillow opens it in; samples of 16 bits are
 * scaled to 8. Throws `DataError` as {@link decodePng}.
 */
export function decodePngPixels(bytes: Uint8Array, file = "PNG"): PillowImage {
  const { width, height, depth, colour } = readHeader(bytes, file);
  const rgba = readRgba(bytes, file);
  const mode = modeOf(colour, depth);
  const kept = KEPT[mode];
  const data = new Uint8Array(width * height * kept.length);
  for (let i = 0, o = 0; i < rgba.length; i += 4) for (const c of kept) data[o++] = rgba[i + c]!;
  return { mode, width, height, data };
}

/**
 * Decodes any PNG (every colour type and depth, interlaced or not) to 8-bit RGB; transparency is laid over white.
 * Throws `DataError` naming `file` when it is truncated, damaged, no PNG, or has more than 64 Mi pixels.
 */
export function decodePng(bytes: Uint8Array, file = "PNG"): RgbImage {
  const { width, height } = readHeader(bytes, file);
  const rgba = readRgba(bytes, file);
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0, j = 0; j < rgb.length; i += 4, j += 3) {
    const alpha = rgba[i + 3]!;
    for (let c = 0; c < 3; c++)
      rgb[j + c] = alpha === 255 ? rgba[i + c]! : Math.round((rgba[i + c]! * alpha + 255 * (255 - alpha)) / 255);
  }
  return { width, height, rgb };
}
