/** Reading zip archives by random access: the directory is checked before it is believed, ZIP64 and deflate are known, nothing is unpacked whole. */
import { CheckpointError } from "@refl/tensor";
import { Inflate } from "fflate";
import type { ByteSource } from "./byte-source.ts";

const END = 0x06054b50;
const END64 = 0x06064b50;
const LOCATOR64 = 0x07064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const END_BYTES = 22;
const MAX_COMMENT = 0xffff;
/** A directory beyond this is no checkpoint's: about 500,000 entries. */
const MAX_DIRECTORY_BYTES = 32 * 2 ** 20;
/** Deflate cannot do better than 1032 : 1. */
const MAX_RATIO = 1032;
/** Compressed bytes inflated at once; their output is at most 1032 times as much. */
const INFLATE_STEP = 8192;
const READ_STEP = 2 ** 18;

/** An entry as the directory describes it. Sizes in bytes. */
export interface ZipEntry {
  readonly name: string;
  readonly deflated: boolean;
  readonly compressedSize: number;
  readonly size: number;
  /** Where its local header begins. */
  readonly headerOffset: number;
  /** Where the next entry's header or the directory begins. */
  readonly limit: number;
}

/** An opened archive. The source stays the caller's to close. */
export class ZipArchive {
  readonly source: ByteSource;
  /** By name, in the order of the directory. */
  readonly entries: ReadonlyMap<string, ZipEntry>;
  readonly #dataOffsets = new Map<ZipEntry, number>();

  constructor(source: ByteSource, entries: ReadonlyMap<string, ZipEntry>) {
    this.source = source;
    this.entries = entries;
  }

  /**
   * The `length` bytes of an entry's content from `offset` on. A stored entry is read there and nowhere else; a deflated one is inflated from
   * its beginning, in pieces, up to the last byte asked. `into` as of {@link ByteSource}.
   * @throws CheckpointError naming the entry when the range is not inside it, its local header disagrees, or its data is damaged.
   */
  async read(
    entry: ZipEntry,
    offset = 0,
    length: number = entry.size - offset,
    into?: Uint8Array,
  ): Promise<Uint8Array> {
    if (offset < 0 || length < 0 || length > entry.size - offset) {
      this.#fail(entry, `bytes ${offset} to ${offset + length} were asked, it has ${entry.size}`);
    }
    if (length === 0) return new Uint8Array(0);
    const start = await this.#dataOffset(entry);
    if (!entry.deflated) return this.source.read(start + offset, length, into);
    return this.#inflate(entry, start, offset, length);
  }

  /** The data lies behind the local header, whose name and extra field are its own: the writer pads there to align the data. */
  async #dataOffset(entry: ZipEntry): Promise<number> {
    const known = this.#dataOffsets.get(entry);
    if (known !== undefined) return known;
    if (entry.limit - entry.headerOffset < 30) this.#fail(entry, "has no room for its local header");
    const header = view(await this.source.read(entry.headerOffset, 30));
    if (header.getUint32(0, true) !== LOCAL) this.#fail(entry, `has no local header at byte ${entry.headerOffset}`);
    const method = entry.deflated ? 8 : 0;
    if (header.getUint16(8, true) !== method) this.#fail(entry, "has another compression method in its local header");
    const nameBytes = header.getUint16(26, true);
    const start = entry.headerOffset + 30 + nameBytes + header.getUint16(28, true);
    if (start + entry.compressedSize > entry.limit) {
      this.#fail(
        entry,
        `holds ${entry.compressedSize} bytes from byte ${start} on, which overlap what begins at byte ${entry.limit}`,
      );
    }
    const name = decodeName(await this.source.read(entry.headerOffset + 30, nameBytes));
    if (name !== entry.name) this.#fail(entry, `is called ${JSON.stringify(name)} in its local header`);
    this.#dataOffsets.set(entry, start);
    return start;
  }

  async #inflate(entry: ZipEntry, start: number, offset: number, length: number): Promise<Uint8Array> {
    const out = new Uint8Array(length);
    const last = offset + length;
    let produced = 0;
    const inflate = new Inflate((chunk) => {
      const from = Math.max(offset - produced, 0);
      const to = Math.min(last - produced, chunk.length);
      if (to > from) out.set(chunk.subarray(from, to), produced + from - offset);
      produced += chunk.length;
    });
    let at = 0;
    while (at < entry.compressedSize && produced < last) {
      const piece = await this.source.read(start + at, Math.min(READ_STEP, entry.compressedSize - at));
      at += piece.length;
      for (let i = 0; i < piece.length && produced < last; i += INFLATE_STEP) {
        const end = Math.min(i + INFLATE_STEP, piece.length);
        try {
          inflate.push(piece.subarray(i, end), at === entry.compressedSize && end === piece.length);
        } catch (cause) {
          this.#fail(entry, `cannot be inflated: ${cause instanceof Error ? cause.message : String(cause)}`);
        }
        if (produced > entry.size) this.#fail(entry, `inflates to more than the ${entry.size} bytes it claims`);
      }
    }
    if (produced < last) this.#fail(entry, `inflates to ${produced} bytes, it claims ${entry.size}`);
    return out;
  }

  #fail(entry: ZipEntry, message: string): never {
    throw new CheckpointError(this.source.name, `zip entry ${JSON.stringify(entry.name)} ${message}`);
  }
}

/**
 * Reads and checks an archive's directory: two or three reads at the end of the file.
 * @throws CheckpointError for an archive that is truncated, encrypted, split, inconsistent or compressed by other means than deflate.
 */
export async function openZip(source: ByteSource): Promise<ZipArchive> {
  const { name: file } = source;
  const { offset, bytes, count } = await findDirectory(source);
  const directory = await source.read(offset, bytes);
  const found: Omit<ZipEntry, "limit">[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (directory.length - at < 46) throw new CheckpointError(file, `zip directory ends inside entry ${i} of ${count}`);
    const header = view(directory.subarray(at));
    if (header.getUint32(0, true) !== CENTRAL) {
      throw new CheckpointError(file, `zip directory: entry ${i} of ${count} has no header at byte ${offset + at}`);
    }
    const nameEnd = 46 + header.getUint16(28, true);
    const extraEnd = nameEnd + header.getUint16(30, true);
    const end = extraEnd + header.getUint16(32, true);
    if (end > directory.length - at)
      throw new CheckpointError(file, `zip directory ends inside entry ${i} of ${count}`);
    found.push(
      parseEntry(
        file,
        header,
        decodeName(directory.subarray(at + 46, at + nameEnd)),
        view(directory.subarray(at + nameEnd, at + extraEnd)),
      ),
    );
    at += end;
  }
  if (at !== bytes)
    throw new CheckpointError(file, `zip directory has ${bytes - at} bytes beyond its ${count} entries`);
  return new ZipArchive(source, checkEntries(file, found, offset));
}

interface Directory {
  readonly offset: number;
  readonly bytes: number;
  readonly count: number;
}

async function findDirectory(source: ByteSource): Promise<Directory> {
  const { name: file, size } = source;
  const tailBytes = Math.min(size, END_BYTES + MAX_COMMENT);
  const tail = view(await source.read(size - tailBytes, tailBytes));
  let at = tailBytes - END_BYTES;
  while (at >= 0 && !(tail.getUint32(at, true) === END && tail.getUint16(at + 20, true) === tailBytes - at - END_BYTES))
    at--;
  if (at < 0) {
    throw new CheckpointError(file, "has no zip directory at its end: the file is truncated, load it again");
  }
  const end = size - tailBytes + at;
  if (tail.getUint16(at + 4, true) !== tail.getUint16(at + 6, true)) {
    throw new CheckpointError(file, "is one volume of a split zip archive");
  }
  let count = tail.getUint16(at + 10, true);
  let bytes = tail.getUint32(at + 12, true);
  let offset = tail.getUint32(at + 16, true);
  let limit = end;
  if (count === 0xffff || bytes === 0xffffffff || offset === 0xffffffff) {
    const end64 = await findEnd64(source, end);
    if (end64 !== undefined) {
      const record = view(await source.read(end64, 56));
      if (record.getUint32(0, true) !== END64) {
        throw new CheckpointError(file, `has no ZIP64 end record at byte ${end64}, where its locator points`);
      }
      count = uint64(record, 32);
      bytes = uint64(record, 40);
      offset = uint64(record, 48);
      limit = end64;
    }
  }
  if (bytes > MAX_DIRECTORY_BYTES) {
    throw new CheckpointError(file, `zip directory: ${bytes} bytes, at most ${MAX_DIRECTORY_BYTES} are allowed`);
  }
  if (offset + bytes > limit) {
    throw new CheckpointError(file, `zip directory: ${bytes} bytes from byte ${offset} on reach beyond byte ${limit}`);
  }
  return { offset, bytes, count };
}

async function findEnd64(source: ByteSource, end: number): Promise<number | undefined> {
  if (end < 20) return undefined;
  const locator = view(await source.read(end - 20, 20));
  if (locator.getUint32(0, true) !== LOCATOR64) return undefined;
  const offset = uint64(locator, 8);
  if (offset > end - 20 - 56) {
    throw new CheckpointError(source.name, `ZIP64 end record: byte ${offset} lies beyond the data`);
  }
  return offset;
}

function parseEntry(file: string, header: DataView, name: string, extra: DataView): Omit<ZipEntry, "limit"> {
  const fail = (message: string): never => {
    throw new CheckpointError(file, `zip entry ${JSON.stringify(name)} ${message}`);
  };
  const method = header.getUint16(10, true);
  if (header.getUint16(8, true) & 1) fail("is encrypted");
  if (method !== 0 && method !== 8) fail(`is compressed by method ${method}; stored and deflated entries can be read`);
  const wide = new Wide(extra, () => fail("has a 64-bit field that its extra field lacks"));
  const size = wide.take(header.getUint32(24, true));
  const compressedSize = wide.take(header.getUint32(20, true));
  const headerOffset = wide.take(header.getUint32(42, true));
  if (method === 0 && size !== compressedSize) fail(`is stored in ${compressedSize} bytes but claims ${size}`);
  if (method === 8 && size > compressedSize * MAX_RATIO) {
    fail(`claims that ${compressedSize} bytes inflate to ${size}, more than deflate can`);
  }
  return { name, deflated: method === 8, compressedSize, size, headerOffset };
}

/** The 64-bit values of the ZIP64 extra field: only those whose 32-bit field is full are there, in the order size, compressed size, offset. */
class Wide {
  readonly #extra: DataView;
  readonly #missing: () => never;
  #at = -1;
  #end = -1;

  constructor(extra: DataView, missing: () => never) {
    this.#extra = extra;
    this.#missing = missing;
    for (let at = 0; at + 4 <= extra.byteLength; ) {
      const end = at + 4 + extra.getUint16(at + 2, true);
      if (extra.getUint16(at, true) === 1 && end <= extra.byteLength) {
        this.#at = at + 4;
        this.#end = end;
        return;
      }
      at = end;
    }
  }

  take(narrow: number): number {
    if (narrow !== 0xffffffff) return narrow;
    if (this.#at < 0 || this.#at + 8 > this.#end) return this.#missing();
    const value = uint64(this.#extra, this.#at);
    this.#at += 8;
    return value;
  }
}

function checkEntries(
  file: string,
  found: readonly Omit<ZipEntry, "limit">[],
  directory: number,
): ReadonlyMap<string, ZipEntry> {
  const sorted = [...found].sort((a, b) => a.headerOffset - b.headerOffset);
  const limits = new Map<Omit<ZipEntry, "limit">, number>();
  let limit = directory;
  for (const entry of sorted.reverse()) {
    if (entry.headerOffset + 30 + entry.compressedSize > limit) {
      const text = `holds ${entry.compressedSize} bytes behind byte ${entry.headerOffset}, which overlap what begins at byte ${limit}`;
      throw new CheckpointError(file, `zip entry ${JSON.stringify(entry.name)} ${text}`);
    }
    limits.set(entry, limit);
    limit = entry.headerOffset;
  }
  const entries = new Map<string, ZipEntry>();
  for (const entry of found) {
    if (entries.has(entry.name)) {
      throw new CheckpointError(file, `zip entry ${JSON.stringify(entry.name)} stands twice in the directory`);
    }
    entries.set(entry.name, { ...entry, limit: limits.get(entry)! });
  }
  return entries;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A number beyond 2^53 stays larger than any file, which is all that matters of it. */
function uint64(data: DataView, at: number): number {
  return data.getUint32(at, true) + data.getUint32(at + 4, true) * 2 ** 32;
}

const decodeName = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
