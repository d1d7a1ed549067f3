/** The safetensors format: a lazy reader that believes no length before it has checked it, and a writer whose bytes are the reference library's. */
import { CheckpointError, DTypeError, ShapeError } from "@refl/tensor";
import type { ByteSource } from "./byte-source.ts";
import type { Checkpoint, TensorHeader } from "./checkpoint.ts";
import { findJsonProblem, isJsonObject, type JsonObject, type JsonValue } from "./json.ts";

const MAX_HEADER_BYTES = 100_000_000;
/** Strings, brackets and commas of a header: a tensor has about twenty. More would be memory, not tensors. */
const MAX_HEADER_TOKENS = 4_000_000;
const PREFIX_BYTES = 8;
/** Characters of a file's own texts that an error message repeats. */
const MAX_SHOWN = 500;

/** Element types by descending alignment, the order in which the reference library lays tensors out, with their size in bytes. */
const DTYPES = {
  U64: 8,
  I64: 8,
  F64: 8,
  F32: 4,
  U32: 4,
  I32: 4,
  BF16: 2,
  F16: 2,
  U16: 2,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;

export type SafetensorsDType = keyof typeof DTYPES;

/** Bytes per element. */
export function dtypeSize(dtype: SafetensorsDType): number {
  return DTYPES[dtype];
}

/** A tensor as files hold it: row-major, little-endian. `bytes.length` is the element count times the element size. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** Where a tensor lies in a file: `byteLength` bytes from `byteOffset` on, counted from the start of the file. */
export interface TensorInfo extends TensorHeader {
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** An opened file: the header is read and checked, tensors are read on demand. */
export class SafetensorsFile implements Checkpoint {
  readonly format = "safetensors";
  readonly source: ByteSource;
  /** The `__metadata__` strings. */
  readonly metadata: ReadonlyMap<string, string>;
  /** By name, in the order of the data in the file. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;

  constructor(source: ByteSource, metadata: ReadonlyMap<string, string>, tensors: ReadonlyMap<string, TensorInfo>) {
    this.source = source;
    this.metadata = metadata;
    this.tensors = tensors;
  }

  get name(): string {
    return this.source.name;
  }

  /** Names with shapes, as `matchStateDict` takes them. */
  shapes(): Map<string, readonly number[]> {
    return new Map([...this.tensors].map(([name, info]) => [name, info.shape]));
  }

  /**
   * Reads one tensor.
   * @throws CheckpointError when the file has no such tensor or cannot be read.
   */
  async read(name: string, into?: Uint8Array): Promise<TensorEntry> {
    const info = this.tensors.get(name);
    if (!info)
      throw new CheckpointError(this.source.name, `has no tensor ${JSON.stringify(name)}`, { missing: [name] });
    const bytes = await readExactly(this.source, info.byteOffset, info.byteLength, into);
    return { name, dtype: info.dtype, shape: info.shape, bytes };
  }

  /** All tensors in file order, one at a time. */
  async *entries(): AsyncGenerator<TensorEntry> {
    for (const name of this.tensors.keys()) yield await this.read(name);
  }

  /** Closes the source. */
  close(): Promise<void> {
    return this.source.close();
  }
}

async function readExactly(source: ByteSource, offset: number, length: number, into?: Uint8Array): Promise<Uint8Array> {
  const bytes = await source.read(offset, length, into);
  if (bytes.byteLength !== length) {
    throw new CheckpointError(source.name, `${length} bytes from ${offset} on were asked, ${bytes.byteLength} came`);
  }
  return bytes;
}

/**
 * Reads and checks the header of a safetensors file, as strictly as the reference library and in two reads.
 * @throws CheckpointError naming the file and, where one is at fault, the tensor and the field.
 */
export async function openSafetensors(source: ByteSource): Promise<SafetensorsFile> {
  const file = source.name;
  if (source.size < PREFIX_BYTES) {
    throw new CheckpointError(file, `header length: needs ${PREFIX_BYTES} bytes, the file has ${source.size}`);
  }
  const prefix = await readExactly(source, 0, PREFIX_BYTES);
  const view = new DataView(prefix.buffer, prefix.byteOffset, PREFIX_BYTES);
  const headerBytes = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  if (headerBytes > MAX_HEADER_BYTES) {
    throw new CheckpointError(file, `header length: ${headerBytes} bytes, at most ${MAX_HEADER_BYTES} are allowed`);
  }
  if (headerBytes > source.size - PREFIX_BYTES) {
    throw new CheckpointError(
      file,
      `header length: ${headerBytes} bytes, only ${source.size - PREFIX_BYTES} follow; the file is truncated or no safetensors file`,
    );
  }
  const header = parseHeader(file, await readExactly(source, PREFIX_BYTES, headerBytes));
  const dataStart = PREFIX_BYTES + headerBytes;
  const tensors: TensorInfo[] = [];
  let metadata: ReadonlyMap<string, string> = new Map();
  for (const [name, value] of Object.entries(header)) {
    if (name === "__metadata__") metadata = parseMetadata(file, value);
    else tensors.push(parseTensorInfo(file, name, value, dataStart));
  }
  tensors.sort((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  checkLayout(file, tensors, dataStart, source.size);
  return new SafetensorsFile(source, metadata, new Map(tensors.map((info) => [info.name, info])));
}

function parseHeader(file: string, bytes: Uint8Array): JsonObject {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new CheckpointError(file, "header: is not valid UTF-8");
  }
  const problem = findJsonProblem(text, MAX_HEADER_TOKENS);
  if (problem) throw new CheckpointError(file, `header: ${problem.message}`);
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError(
      file,
      `header: is not valid JSON: ${cause instanceof Error ? cause.message : String(cause)}`,
    );
  }
  if (!isJsonObject(header)) throw new CheckpointError(file, "header: must be a JSON object");
  return header;
}

function parseMetadata(file: string, value: JsonValue): ReadonlyMap<string, string> {
  if (value === null) return new Map();
  if (!isJsonObject(value)) throw new CheckpointError(file, "__metadata__: must be an object of strings");
  return new Map(
    Object.entries(value).map(([key, text]) => {
      if (typeof text !== "string")
        throw new CheckpointError(file, `__metadata__: ${JSON.stringify(key)}: must be a string`);
      return [key, text];
    }),
  );
}

function isSize(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isDType(value: unknown): value is SafetensorsDType {
  return typeof value === "string" && Object.hasOwn(DTYPES, value);
}

function hasLoneSurrogate(text: string): boolean {
  return /\p{Surrogate}/u.test(text);
}

/** Element count, or `undefined` when it is no safe integer. */
function elementCount(shape: readonly number[]): number | undefined {
  let count = 1;
  for (const size of shape) {
    count *= size;
    if (!Number.isSafeInteger(count)) return undefined;
  }
  return count;
}

function parseTensorInfo(file: string, name: string, value: JsonValue, dataStart: number): TensorInfo {
  const fail = (field: string, message: string): never => {
    const short = JSON.stringify(name.slice(0, MAX_SHOWN));
    throw new CheckpointError(file, `tensor ${short}: ${field}: ${message.slice(0, MAX_SHOWN)}`);
  };
  if (hasLoneSurrogate(name)) return fail("name", "is not valid Unicode");
  if (!isJsonObject(value)) return fail("entry", "must be an object with dtype, shape and data_offsets");
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype === "string" && /^F[468](_|$)/.test(dtype)) {
    return fail(
      "dtype",
      `${dtype} is a float of fewer than 16 bits, which cannot be read: convert the file to F16 or F32`,
    );
  }
  if (!isDType(dtype)) {
    const known = Object.keys(DTYPES).join(", ");
    return fail("dtype", `${JSON.stringify(dtype ?? null)} is not supported; known are ${known}`);
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) return fail("shape", "must be a list of non-negative integers");
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    return fail("data_offsets", "must be two non-negative integers");
  }
  const [begin, end] = offsets as [number, number];
  if (end < begin) return fail("data_offsets", `end ${end} lies before begin ${begin}`);
  const count = elementCount(shape);
  const needed = count === undefined ? undefined : count * DTYPES[dtype];
  if (needed === undefined || !Number.isSafeInteger(needed)) return fail("shape", `[${shape.join(", ")}] is too large`);
  if (needed !== end - begin) {
    return fail(
      "data_offsets",
      `[${begin}, ${end}] hold ${end - begin} bytes, ${dtype} [${shape.join(", ")}] needs ${needed}`,
    );
  }
  return { name, dtype, shape, byteOffset: dataStart + begin, byteLength: needed };
}

function checkLayout(file: string, sorted: readonly TensorInfo[], dataStart: number, fileSize: number): void {
  let end = dataStart;
  let previous = "";
  for (const { name, byteOffset, byteLength } of sorted) {
    const fail = (message: string): never => {
      throw new CheckpointError(file, `tensor ${JSON.stringify(name)}: data_offsets: ${message}`);
    };
    if (byteOffset < end) fail(`begins at ${byteOffset - dataStart}, inside tensor ${JSON.stringify(previous)}`);
    if (byteOffset > end) fail(`begins at ${byteOffset - dataStart}, leaving a hole from ${end - dataStart} on`);
    end += byteLength;
    if (end > fileSize)
      fail(`ends at ${end - dataStart}, only ${fileSize - dataStart} bytes of data follow the header`);
    previous = name;
  }
  if (end !== fileSize) throw new CheckpointError(file, `${fileSize - end} bytes after the last tensor belong to none`);
}

function compareCodePoints(a: string, b: string): number {
  const left = [...a];
  const right = [...b];
  for (let i = 0; i < left.length && i < right.length; i++) {
    const difference = (left[i] as string).codePointAt(0)! - (right[i] as string).codePointAt(0)!;
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

/** What a file holds before its tensors' bytes, and the order in which these come. */
interface Layout<T extends TensorHeader> {
  /** Length prefix and header. */
  readonly head: Uint8Array<ArrayBuffer>;
  readonly ordered: readonly T[];
  readonly dataBytes: number;
}

/** The bytes that a tensor takes. @throws ShapeError when its shape is no shape. */
function tensorBytes({ name, dtype, shape }: TensorHeader): number {
  const count = shape.every(isSize) ? elementCount(shape) : undefined;
  if (count === undefined) throw new ShapeError(`writeSafetensors ${name}`, [shape], "is not the shape of a tensor");
  return count * DTYPES[dtype];
}

function layOut<T extends TensorHeader>(
  tensors: Iterable<T>,
  metadata: Readonly<Record<string, string>>,
  file: string,
): Layout<T> {
  const order = Object.keys(DTYPES);
  const ordered = [...tensors];
  for (const { dtype, name } of ordered) {
    if (!isDType(dtype))
      throw new DTypeError(`writeSafetensors ${name}`, [String(dtype)], `known are ${order.join(", ")}`);
  }
  ordered.sort((a, b) => order.indexOf(a.dtype) - order.indexOf(b.dtype) || compareCodePoints(a.name, b.name));
  const fields: string[] = [];
  const metadataKeys = Object.keys(metadata).sort(compareCodePoints);
  if (metadataKeys.length > 0) {
    const pairs = metadataKeys.map((key) => `${JSON.stringify(key)}:${JSON.stringify(metadata[key])}`);
    fields.push(`"__metadata__":{${pairs.join(",")}}`);
  }
  const seen = new Set<string>();
  let dataBytes = 0;
  for (const tensor of ordered) {
    const { name, dtype, shape } = tensor;
    if (name === "__metadata__" || hasLoneSurrogate(name) || seen.has(name)) {
      const why = seen.has(name) ? "stands twice" : "is not a name that a tensor can have";
      throw new CheckpointError(file, `tensor ${JSON.stringify(name)}: ${why}`);
    }
    seen.add(name);
    const end = dataBytes + tensorBytes(tensor);
    fields.push(
      `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(",")}],"data_offsets":[${dataBytes},${end}]}`,
    );
    dataBytes = end;
  }
  const json = new TextEncoder().encode(`{${fields.join(",")}}`);
  const headerBytes = Math.ceil(json.byteLength / 8) * 8;
  if (headerBytes > MAX_HEADER_BYTES) {
    throw new CheckpointError(file, `header would have ${headerBytes} bytes, at most ${MAX_HEADER_BYTES} are allowed`);
  }
  const head = new Uint8Array(PREFIX_BYTES + headerBytes).fill(0x20, PREFIX_BYTES);
  new DataView(head.buffer).setUint32(0, headerBytes, true);
  head.set(json, PREFIX_BYTES);
  return { head, ordered, dataBytes };
}

/**
 * Serialises tensors. The bytes depend on the tensors and the metadata only, not on their order: tensors go by descending
 * dtype alignment then name (as the reference library orders them), metadata by key, the header is padded with spaces to 8 bytes.
 * @throws DTypeError, ShapeError on an entry whose dtype is unknown or whose bytes do not fit its shape, CheckpointError on a bad or repeated name.
 */
export function writeSafetensors(
  entries: Iterable<TensorEntry>,
  metadata: Readonly<Record<string, string>> = {},
  file = "safetensors",
): Uint8Array {
  const { head, ordered, dataBytes } = layOut(entries, metadata, file);
  const out = new Uint8Array(head.byteLength + dataBytes);
  out.set(head);
  let position = head.byteLength;
  for (const entry of ordered) {
    const { name, dtype, shape, bytes } = entry;
    if (bytes.byteLength !== tensorBytes(entry)) {
      const text = `${dtype} does not fit ${bytes.byteLength} bytes of data`;
      throw new ShapeError(`writeSafetensors ${name}`, [shape], text);
    }
    out.set(bytes, position);
    position += bytes.byteLength;
  }
  return out;
}

/**
 * The file that {@link writeSafetensors} makes, in pieces, for tensors that need not be in memory together: names, dtypes and shapes settle the header, then
 * `data` is asked once for the bytes of all tensors in the file's order, cut anywhere. A piece is valid until the next is asked for.
 * @throws as `writeSafetensors`, before the first piece; CheckpointError when more or fewer bytes come than the tensors take
 */
export async function* streamSafetensors<T extends TensorHeader>(
  tensors: Iterable<T>,
  data: (ordered: readonly T[]) => AsyncIterable<Uint8Array>,
  metadata: Readonly<Record<string, string>> = {},
  file = "safetensors",
): AsyncGenerator<Uint8Array, void, undefined> {
  const { head, ordered, dataBytes } = layOut(tensors, metadata, file);
  yield head;
  let came = 0;
  for await (const bytes of data(ordered)) {
    came += bytes.byteLength;
    if (came > dataBytes) break;
    yield bytes;
  }
  if (came !== dataBytes)
    throw new CheckpointError(file, `its tensors take ${dataBytes} bytes, ${came > dataBytes ? "more" : came} came`);
}
