/** What every checkpoint file gives, whatever its format: names, shapes and dtypes at once, tensors one at a time. */
import { CheckpointError } from "@refl/tensor";
import type { SafetensorsDType, TensorEntry } from "./safetensors.ts";

export type CheckpointFormat = "safetensors" | "torch-zip" | "torch-script" | "torch-legacy" | "sharded";

/** A tensor as a checkpoint lists it. */
export interface TensorHeader {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
}

/** An opened checkpoint. */
export interface Checkpoint {
  /** What error messages call the file. */
  readonly name: string;
  readonly format: CheckpointFormat;
  /** By name, in the order in which reading costs least. */
  readonly tensors: ReadonlyMap<string, TensorHeader>;
  /** Texts that stand beside the tensors: safetensors' `__metadata__`, a torch file's step and epoch. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Names with shapes, as `matchStateDict` takes them. */
  shapes(): Map<string, readonly number[]>;
  /**
   * Reads one tensor, row-major and little-endian.
   * @param into where the bytes may be put if they fit; the entry is then valid until `into` is used again
   * @throws CheckpointError when the file has no such tensor, is damaged or cannot be read.
   */
  read(name: string, into?: Uint8Array): Promise<TensorEntry>;
  /** All tensors, one at a time. */
  entries(): AsyncGenerator<TensorEntry>;
  /** Closes the file. Safe to call twice. */
  close(): Promise<void>;
}

/** The parts of a {@link Checkpoint} that differ between formats. */
export interface CheckpointParts {
  readonly name: string;
  readonly format: CheckpointFormat;
  readonly metadata: ReadonlyMap<string, string>;
  readonly tensors: ReadonlyMap<string, TensorHeader>;
  /** The bytes of a tensor that `tensors` has. */
  readonly read: (header: TensorHeader, into?: Uint8Array) => Promise<Uint8Array>;
  readonly close: () => Promise<void>;
}

/** A {@link Checkpoint} of its parts. */
export function makeCheckpoint({ name: file, format, metadata, tensors, read, close }: CheckpointParts): Checkpoint {
  const readEntry = async (name: string, into?: Uint8Array): Promise<TensorEntry> => {
    const header = tensors.get(name);
    if (!header) throw new CheckpointError(file, `has no tensor ${JSON.stringify(name)}`, { missing: [name] });
    return { name, dtype: header.dtype, shape: header.shape, bytes: await read(header, into) };
  };
  return {
    name: file,
    format,
    metadata,
    tensors,
    shapes: () => new Map([...tensors].map(([name, header]) => [name, header.shape])),
    read: readEntry,
    async *entries() {
      for (const name of tensors.keys()) yield await readEntry(name);
    },
    close,
  };
}
