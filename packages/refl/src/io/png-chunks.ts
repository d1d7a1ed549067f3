/** PNG chunks on plain bytes: reading them with their checks, and putting text into or taking it out of a finished PNG on any host. */
import { DataError } from "@refl/tensor";
import { Unzlib } from "fflate";

/** One chunk: its four-letter type and its payload without length and CRC. */
export interface PngChunk {
  readonly type: string;
  readonly data: Uint8Array;
}

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

const TEXT_TYPES = new Set(["tEXt", "zTXt", "iTXt"]);

/** Decompressed text above this many bytes is refused: a few kilobytes of zlib can otherwise fill the memory. */
const MAX_TEXT_BYTES = 4 * 1024 * 1024;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

/** CRC-32 of ISO 3309 (PNG specification, annex D) over `bytes[start, end)`, as an unsigned 32-bit number. */
export function crc32(bytes: Uint8Array, start = 0, end = bytes.length): number {
  let c = 0xffffffff;
  for (let i = start; i < end; i++) c = CRC_TABLE[(c ^ bytes[i]!) & 255]! ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

interface LocatedChunk extends PngChunk {
  /** Offset of the chunk's length field in the file. */
  readonly offset: number;
}

function locateChunks(png: Uint8Array, file: string): LocatedChunk[] {
  if (png.length < 8 || SIGNATURE.some((byte, i) => png[i] !== byte))
    throw new DataError(file, 0, "", "not a PNG: its first 8 bytes are not the PNG signature");
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const chunks: LocatedChunk[] = [];
  let offset = 8;
  while (offset < png.length) {
    const rest = png.length - offset;
    if (rest < 12)
      throw new DataError(file, 0, "", `truncated PNG: ${rest} bytes at offset ${offset}, a chunk needs 12`);
    const length = view.getUint32(offset);
    if (length > rest - 12)
      throw new DataError(
        file,
        0,
        "",
        `truncated PNG: the chunk at offset ${offset} announces ${length} bytes, ${rest - 12} are left`,
      );
    const type = String.fromCharCode(...png.subarray(offset + 4, offset + 8));
    if (!/^[A-Za-z]{4}$/.test(type))
      throw new DataError(file, 0, "", `damaged PNG: no chunk type at offset ${offset + 4}`);
    const end = offset + 8 + length;
    if (crc32(png, offset + 4, end) !== view.getUint32(end))
      throw new DataError(file, 0, type, `damaged PNG: wrong checksum of the chunk at offset ${offset}`);
    chunks.push({ type, data: png.subarray(offset + 8, end), offset });
    offset = end + 4;
    if (type === "IEND") break;
  }
  if (chunks[0]?.type !== "IHDR") throw new DataError(file, 0, "IHDR", "damaged PNG: the first chunk is not IHDR");
  if (chunks.at(-1)!.type !== "IEND") throw new DataError(file, 0, "IEND", "truncated PNG: it has no IEND chunk");
  return chunks;
}

/**
 * All chunks of a PNG in file order, every length and checksum proven. The payloads are views of `png`.
 * Throws `DataError` naming `file` when the signature, a length, a checksum, IHDR or IEND is wrong or missing.
 */
export function readPngChunks(png: Uint8Array, file = "PNG"): PngChunk[] {
  return locateChunks(png, file).map(({ type, data }) => ({ type, data }));
}

const latin1 = (bytes: Uint8Array): string => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");

function inflate(data: Uint8Array, file: string, keyword: string): Uint8Array {
  const parts: Uint8Array[] = [];
  let size = 0;
  const stream = new Unzlib((part) => {
    size += part.length;
    if (size > MAX_TEXT_BYTES)
      throw new DataError(file, 0, keyword, `text chunk larger than ${MAX_TEXT_BYTES} bytes when decompressed`);
    parts.push(part);
  });
  try {
    // In small pieces, so that a hostile stream is stopped soon after it passes the limit.
    for (let i = 0; i < data.length; i += 1024) stream.push(data.subarray(i, i + 1024), i + 1024 >= data.length);
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    throw new DataError(file, 0, keyword, "damaged PNG: its compressed text cannot be read");
  }
  const out = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/**
 * The text chunks (tEXt, zTXt, iTXt; PNG specification 11.3.3) of a PNG by keyword; of two with one keyword the last counts.
 * Throws `DataError` for a damaged PNG or a text of more than 4 MiB.
 */
export function readPngText(png: Uint8Array, file = "PNG"): Map<string, string> {
  const texts = new Map<string, string>();
  for (const { type, data } of locateChunks(png, file)) {
    if (!TEXT_TYPES.has(type)) continue;
    const zero = data.indexOf(0);
    if (zero < 1) continue;
    const keyword = latin1(data.subarray(0, zero));
    const rest = data.subarray(zero + 1);
    if (type === "tEXt") texts.set(keyword, latin1(rest));
    else if (type === "zTXt") texts.set(keyword, latin1(inflate(rest.subarray(1), file, keyword)));
    else {
      const language = rest.indexOf(0, 2);
      const translated = language < 0 ? -1 : rest.indexOf(0, language + 1);
      if (translated < 0) throw new DataError(file, 0, keyword, "damaged PNG: an iTXt chunk ends within its header");
      const body = rest.subarray(translated + 1);
      texts.set(keyword, new TextDecoder().decode(rest[0] === 1 ? inflate(body, file, keyword) : body));
    }
  }
  return texts;
}

function makeChunk(type: string, data: Uint8Array): Uint8Array {
  const chunk = new Uint8Array(data.length + 12);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, data.length);
  for (let i = 0; i < 4; i++) chunk[4 + i] = type.charCodeAt(i);
  chunk.set(data, 8);
  view.setUint32(data.length + 8, crc32(chunk, 4, data.length + 8));
  return chunk;
}

function textChunk(keyword: string, text: string): Uint8Array {
  if (!/^[\x21-\x7e](?:[\x20-\x7e]{0,77}[\x21-\x7e])?$/.test(keyword))
    throw new DataError(
      "PNG",
      0,
      keyword,
      "a text keyword is 1 to 79 printable ASCII characters without a space at its ends",
    );
  const key = new TextEncoder().encode(keyword);
  // tEXt holds Latin-1 only; other writers choose between the two in the same way, and every reader of `parameters` takes both.
  const isLatin1 = Array.from(text).every((c) => c.charCodeAt(0) > 0 && c.codePointAt(0)! < 256);
  const body = isLatin1 ? Uint8Array.from(text, (c) => c.charCodeAt(0)) : new TextEncoder().encode(text);
  const header = isLatin1 ? 1 : 5;
  const data = new Uint8Array(key.length + header + body.length);
  data.set(key);
  data.set(body, key.length + header);
  return makeChunk(isLatin1 ? "tEXt" : "iTXt", data);
}

/**
 * A copy of `png` with `texts` written before its picture data; chunks of the same keywords that it had are dropped.
 * Text beyond Latin-1 goes into an uncompressed iTXt chunk, other text into tEXt. Throws `DataError` for a damaged PNG or an unusable keyword.
 */
export function insertPngText(png: Uint8Array, texts: Readonly<Record<string, string>>, file = "PNG"): Uint8Array {
  const located = locateChunks(png, file);
  const replaced = new Set(Object.keys(texts));
  const added = Object.entries(texts).map(([keyword, text]) => textChunk(keyword, text));
  const parts: Uint8Array[] = [png.subarray(0, 8)];
  for (const chunk of located) {
    if (chunk.type === "IDAT") parts.push(...added.splice(0));
    if (TEXT_TYPES.has(chunk.type)) {
      const zero = chunk.data.indexOf(0);
      if (zero > 0 && replaced.has(latin1(chunk.data.subarray(0, zero)))) continue;
    }
    parts.push(png.subarray(chunk.offset, chunk.offset + chunk.data.length + 12));
  }
  if (added.length) throw new DataError(file, 0, "IDAT", "damaged PNG: it has no picture data");
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
