/** PNG files to bytes of RGB and back, through pngjs on Node. */
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

/**
 * Decodes any PNG (every colour type and depth, interlaced or not) to 8-bit RGB; transparency is laid over white.
 * Throws `DataError` naming `file` when it is truncated, damaged, no PNG, or has more than 64 Mi pixels.
 */
export function decodePng(bytes: Uint8Array, file = "PNG"): RgbImage {
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
  let rgba: Uint8Array;
  try {
    rgba = PNG.sync.read(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)).data;
  } catch (cause) {
    throw new DataError(file, 0, "", `damaged PNG: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0, j = 0; j < rgb.length; i += 4, j += 3) {
    const alpha = rgba[i + 3]!;
    for (let c = 0; c < 3; c++)
      rgb[j + c] = alpha === 255 ? rgba[i + c]! : Math.round((rgba[i + c]! * alpha + 255 * (255 - alpha)) / 255);
  }
  return { width, height, rgb };
}
