/** Pictures from files on Node: PNG, JPEG and WebP, told apart by their first bytes. */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { type PillowImage, pillowChannels } from "@refl/models";
import { DataError } from "@refl/tensor";
import type { RgbImage } from "../io/grid.ts";
import { decodePng, decodePngPixels } from "../io/png.node.ts";

type Decoder = (bytes: ArrayBuffer) => Promise<ImageData>;

const require = createRequire(import.meta.url);

/** The decoders hand their pixels to a browser's ImageData, which Node lacks. */
class PlainImageData {
  readonly data: Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
  constructor(data: Uint8ClampedArray, width: number, height: number) {
    this.data = data;
    this.width = width;
    this.height = height;
  }
}

/** What the decoders' loader takes: their WebAssembly file is read here, as they would fetch it by a web address. */
async function decoderOptions(wasmFile: string) {
  const module = await WebAssembly.compile(await readFile(require.resolve(wasmFile)));
  return {
    printErr: () => undefined,
    instantiateWasm: (imports: WebAssembly.Imports, done: (instance: WebAssembly.Instance) => void) => {
      const instance = new WebAssembly.Instance(module, imports);
      done(instance);
      return instance.exports;
    },
  };
}

/** A fresh instance for every picture: a damaged one leaves the decoder's memory in an unknown state. */
async function jpegDecoder(): Promise<Decoder> {
  const { default: decode, init } = await import("@jsquash/jpeg/decode.js");
  await init(await decoderOptions("@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm"));
  return decode;
}

async function webpDecoder(): Promise<Decoder> {
  const { default: decode, init } = await import("@jsquash/webp/decode.js");
  await init(await decoderOptions("@jsquash/webp/codec/dec/webp_dec.wasm"));
  return decode;
}

async function decodeWith(
  load: () => Promise<Decoder>,
  format: string,
  bytes: Uint8Array,
  file: string,
): Promise<PillowImage> {
  const scope = globalThis as { ImageData?: unknown };
  scope.ImageData ??= PlainImageData;
  const decode = await load();
  let image: ImageData;
  try {
    image = await decode(new Uint8Array(bytes).buffer);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new DataError(file, 0, "", `damaged ${format}: ${reason}`);
  }
  const { width, height, data } = image;
  const rgba = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const opaque = rgba.every((value, i) => i % 4 !== 3 || value === 255);
  return opaque
    ? { mode: "RGB", width, height, data: rgba.filter((_, i) => i % 4 !== 3) }
    : { mode: "RGBA", width, height, data: rgba };
}

const startsWith = (bytes: Uint8Array, ascii: string, at = 0): boolean =>
  [...ascii].every((character, i) => bytes[at + i] === character.charCodeAt(0));

/**
 * Decodes a PNG, JPEG or WebP to bytes in the mode that Pillow would have them in, for `pillowSquare`; PNGs of 16 bits are scaled to 8.
 * DataError names `file` when it is damaged or of another format.
 */
export async function decodePixels(bytes: Uint8Array, file: string): Promise<PillowImage> {
  if (bytes.length === 0) throw new DataError(file, 0, "", "is empty");
  if (startsWith(bytes, "\x89PNG")) return decodePngPixels(bytes, file);
  if (startsWith(bytes, "\xff\xd8\xff")) return decodeWith(jpegDecoder, "JPEG", bytes, file);
  if (startsWith(bytes, "RIFF") && startsWith(bytes, "WEBP", 8)) return decodeWith(webpDecoder, "WebP", bytes, file);
  throw new DataError(file, 0, "", "is neither PNG nor JPEG nor WebP, the formats that can be read");
}

/** Decodes a PNG, JPEG or WebP to 8-bit RGB; transparency is laid over white. DataError names `file` when it is damaged or of another format. */
export async function decodeImage(bytes: Uint8Array, file: string): Promise<RgbImage> {
  if (startsWith(bytes, "\x89PNG")) return decodePng(bytes, file);
  const { mode, width, height, data } = await decodePixels(bytes, file);
  if (mode === "RGB") return { width, height, rgb: data };
  const channels = pillowChannels(mode);
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0, j = 0; j < rgb.length; i += channels, j += 3) {
    const alpha = data[i + 3]!;
    for (let c = 0; c < 3; c++) rgb[j + c] = Math.round((data[i + c]! * alpha + 255 * (255 - alpha)) / 255);
  }
  return { width, height, rgb };
}

/** Reads a picture file. DataError when it cannot be opened, is damaged, or is of another format than PNG, JPEG and WebP. */
export async function readImage(path: string): Promise<RgbImage> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new DataError(path, 0, "", code === "ENOENT" ? "no such file" : `cannot be read (${code})`);
  }
  return decodeImage(bytes, path);
}
