/** Files of `torch.save` before PyTorch 1.6: five pickles one after the other, then the storages, each behind its element count. */
import { CheckpointError } from "@refl/tensor";
import type { ByteSource } from "./byte-source.ts";
import { type Checkpoint, makeCheckpoint } from "./checkpoint.ts";
import { type PickleRules, PickleTruncated, unpickle } from "./pickle.ts";
import { dtypeSize, type SafetensorsDType } from "./safetensors.ts";
import { readStrided } from "./strided.ts";
import { torchGlobal, torchRules } from "./torch-objects.ts";
import { torchStateDict } from "./torch-state-dict.ts";
import type { TorchOptions } from "./torch-zip.ts";

const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL_VERSION = 1001;
const FIRST_READ = 2 ** 18;
const MAX_PICKLE_BYTES = 64 * 2 ** 20;
/** The first pickle, the number that such files begin with. */
const BEGINNING = [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];

/** Whether a file that begins with `head` (16 bytes suffice) is of this format. */
export function isTorchLegacy(head: Uint8Array): boolean {
  return BEGINNING.every((byte, i) => i === 1 || head[i] === byte);
}

/** Reads pickles one after the other, taking more of the file whenever one is longer than what was read. */
class PickleStream {
  readonly #source: ByteSource;
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** Where the next pickle begins. */
  get position(): number {
    return this.#at;
  }

  async next(rules: PickleRules): Promise<unknown> {
    const { name: file, size } = this.#source;
    for (;;) {
      try {
        const { value, end } = unpickle(this.#bytes, file, rules, this.#at);
        this.#at = end;
        return value;
      } catch (error) {
        if (!(error instanceof PickleTruncated)) throw error;
        const have = this.#bytes.length;
        if (have === size) throw new CheckpointError(file, `ends at byte ${size}, inside a pickle: it is truncated`);
        if (have >= MAX_PICKLE_BYTES) {
          throw new CheckpointError(file, `has pickles of more than ${MAX_PICKLE_BYTES} bytes`);
        }
        this.#bytes = await this.#source.read(0, Math.min(size, Math.max(FIRST_READ, 4 * have)));
      }
    }
  }
}

interface Storage {
  readonly dtype: SafetensorsDType;
  readonly bytes: number;
  offset: number;
}

/**
 * Opens a legacy file. Reads the pickles and the 8 bytes before each storage; storages are read when a tensor is. The source is closed by `close()`.
 * @throws CheckpointError for a damaged file, a pickle with a foreign global, storages that are missing or of another size.
 */
export async function openTorchLegacy(source: ByteSource, options: TorchOptions = {}): Promise<Checkpoint> {
  const { name: file } = source;
  const stream = new PickleStream(source);
  const plain = torchRules(() => {
    throw new CheckpointError(file, "refers to a storage before its pickle of tensors");
  });
  if ((await stream.next(plain)) !== MAGIC) throw new CheckpointError(file, "is no file of torch.save");
  const version = await stream.next(plain);
  if (version !== PROTOCOL_VERSION) {
    throw new CheckpointError(file, `is of torch.save's protocol ${String(version)}, known is ${PROTOCOL_VERSION}`);
  }
  const system = await stream.next(plain);
  if (system instanceof Map && system.get("little_endian") === false) {
    throw new CheckpointError(file, "is big-endian; little-endian files can be read");
  }
  const storages = new Map<string, Storage>();
  const rules = torchRules((key, dtype, bytes) => {
    const known = storages.get(key);
    if (known && (known.bytes !== bytes || known.dtype !== dtype)) {
      throw new CheckpointError(file, `storage ${JSON.stringify(key)} is described in two ways`);
    }
    if (!known) storages.set(key, { dtype, bytes, offset: -1 });
  }, torchGlobal);
  const { tensors: found, metadata } = torchStateDict(await stream.next(rules), file, options.wrapper);
  const keys = await stream.next(plain);
  if (!Array.isArray(keys)) throw new CheckpointError(file, "has no list of storages behind its pickle of tensors");
  await findStorages(source, stream.position, keys, storages);
  const place = (key: string): number => storages.get(key)!.offset;
  const sorted = [...found].sort(
    ([, a], [, b]) =>
      place(a.storage.key) - place(b.storage.key) || a.offset * a.elementSize - b.offset * b.elementSize,
  );
  return makeCheckpoint({
    name: file,
    format: "torch-legacy",
    metadata,
    tensors: new Map(sorted.map(([name, { dtype, shape }]) => [name, { name, dtype, shape }])),
    read: ({ name }, into) => {
      const tensor = found.get(name)!;
      const begin = place(tensor.storage.key) + tensor.storage.byteOffset;
      return readStrided(tensor, (offset, length, into) => source.read(begin + offset, length, into), into);
    },
    close: () => source.close(),
  });
}

/** Walks over the storages in the order of `keys`, from `start` on, and notes where each one's data begins. */
async function findStorages(
  source: ByteSource,
  start: number,
  keys: readonly unknown[],
  storages: ReadonlyMap<string, Storage>,
): Promise<void> {
  const { name: file, size } = source;
  const fail = (key: unknown, message: string): never => {
    throw new CheckpointError(file, `storage ${JSON.stringify(String(key))} ${message}`);
  };
  let at = start;
  for (const key of keys) {
    const storage = typeof key === "string" ? storages.get(key) : undefined;
    if (!storage) return fail(key, "is in the list of storages, but no tensor has it");
    if (storage.offset >= 0) return fail(key, "stands twice in the list of storages");
    if (size - at < 8) return fail(key, `has no data: the file ends at byte ${size}`);
    const count = new DataView((await source.read(at, 8)).slice().buffer).getBigInt64(0, true);
    const bytes = count * BigInt(dtypeSize(storage.dtype));
    if (bytes !== BigInt(storage.bytes)) return fail(key, `needs ${storage.bytes} bytes, its data has ${bytes}`);
    storage.offset = at + 8;
    at += 8 + storage.bytes;
    if (at > size) return fail(key, `ends at byte ${at}, the file at byte ${size}: it is truncated`);
  }
  for (const [key, { offset }] of storages) if (offset < 0) fail(key, "has no data");
}
