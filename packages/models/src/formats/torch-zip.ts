/** Files of `torch.save` since PyTorch 1.6: a zip of one pickle and one entry for each storage. TorchScript archives are read alike. */
import { CheckpointError } from "@refl/tensor";
import type { ByteSource } from "./byte-source.ts";
import { type Checkpoint, makeCheckpoint } from "./checkpoint.ts";
import { PickleTruncated, unpickle } from "./pickle.ts";
import { readStrided } from "./strided.ts";
import { torchGlobal, torchRules, torchScriptGlobal } from "./torch-objects.ts";
import { torchScriptStateDict, torchStateDict } from "./torch-state-dict.ts";
import { openZip, type ZipArchive, type ZipEntry } from "./zip.ts";

const MAX_PICKLE_BYTES = 64 * 2 ** 20;

export interface TorchOptions {
  /** The dict that holds the tensors, as a dotted path of keys. Default: found by the usual names. */
  readonly wrapper?: string;
}

/**
 * Opens a zip of `torch.save` or `torch.jit.save`. Reads the zip's directory and the pickle; storages are read when a tensor is.
 * The source is closed by `close()`.
 * @throws CheckpointError for a damaged archive, a pickle with a foreign global, storages that are missing or of another size.
 */
export async function openTorchZip(source: ByteSource, options: TorchOptions = {}): Promise<Checkpoint> {
  const { name: file } = source;
  const zip = await openZip(source);
  const { folder, pickle } = findPickle(zip, file);
  const script = zip.entries.has(`${folder}constants.pkl`);
  await checkByteOrder(zip, folder, file);
  const storages = new Map<string, ZipEntry>();
  const rules = torchRules(
    (key, _dtype, bytes) => {
      const entry = zip.entries.get(`${folder}data/${key}`);
      if (!entry) throw new CheckpointError(file, `has no data for storage ${JSON.stringify(key)}`);
      if (entry.size !== bytes) {
        throw new CheckpointError(
          file,
          `storage ${JSON.stringify(key)} needs ${bytes} bytes, its data has ${entry.size}`,
        );
      }
      storages.set(key, entry);
    },
    script ? torchScriptGlobal : torchGlobal,
  );
  if (pickle.size > MAX_PICKLE_BYTES) {
    throw new CheckpointError(file, `${pickle.name} has ${pickle.size} bytes, at most ${MAX_PICKLE_BYTES} are allowed`);
  }
  const root = readPickle(await zip.read(pickle), `${file}: ${pickle.name}`, rules);
  const { tensors: found, metadata } = script
    ? torchScriptStateDict(root, file)
    : torchStateDict(root, file, options.wrapper);
  const place = (key: string): number => storages.get(key)!.headerOffset;
  const sorted = [...found].sort(
    ([, a], [, b]) =>
      place(a.storage.key) - place(b.storage.key) || a.offset * a.elementSize - b.offset * b.elementSize,
  );
  return makeCheckpoint({
    name: file,
    format: script ? "torch-script" : "torch-zip",
    metadata,
    tensors: new Map(sorted.map(([name, { dtype, shape }]) => [name, { name, dtype, shape }])),
    read: ({ name }, into) => {
      const tensor = found.get(name)!;
      const entry = storages.get(tensor.storage.key)!;
      const begin = tensor.storage.byteOffset;
      return readStrided(tensor, (offset, length, into) => zip.read(entry, begin + offset, length, into), into);
    },
    close: () => source.close(),
  });
}

function findPickle(zip: ZipArchive, file: string): { folder: string; pickle: ZipEntry } {
  const candidates = [...zip.entries.values()].filter(({ name }) => /(^|\/)data\.pkl$/.test(name));
  const [pickle] = candidates.sort((a, b) => a.name.length - b.name.length);
  if (!pickle) {
    const names = [...zip.entries.keys()].slice(0, 8).join(", ") || "nothing";
    throw new CheckpointError(file, `is a zip archive without data.pkl, so not from torch.save; it has ${names}`);
  }
  return { folder: pickle.name.slice(0, -"data.pkl".length), pickle };
}

async function checkByteOrder(zip: ZipArchive, folder: string, file: string): Promise<void> {
  const entry = zip.entries.get(`${folder}byteorder`);
  if (!entry) return;
  const order = new TextDecoder().decode(await zip.read(entry, 0, Math.min(entry.size, 16)));
  if (order.trim() !== "little") {
    throw new CheckpointError(file, `has byte order ${JSON.stringify(order)}; little-endian files can be read`);
  }
}

function readPickle(bytes: Uint8Array, file: string, rules: Parameters<typeof unpickle>[2]): unknown {
  try {
    return unpickle(bytes, file, rules).value;
  } catch (error) {
    if (error instanceof PickleTruncated) throw new CheckpointError(file, `pickle ${error.message}, before its STOP`);
    throw error;
  }
}
