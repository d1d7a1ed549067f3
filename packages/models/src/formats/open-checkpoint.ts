/** Opening a checkpoint of any format: the first bytes decide, not the file's name. */
import { bf16ToF32, CheckpointError, f16ToF32 } from "@refl/tensor";
import type { ByteSource } from "./byte-source.ts";
import { type Checkpoint, makeCheckpoint, type TensorHeader } from "./checkpoint.ts";
import { openSafetensors, type SafetensorsDType } from "./safetensors.ts";
import { isTorchLegacy, openTorchLegacy } from "./torch-legacy.ts";
import { openTorchZip, type TorchOptions } from "./torch-zip.ts";

export interface CheckpointOptions extends TorchOptions {
  /** `"keep"` gives F16 and BF16 tensors as they are stored, `"widen"` as F32, exactly. Default `"keep"`. */
  readonly halves?: "keep" | "widen";
  /** Refuse a tensor with NaN or infinity when it is read. Default false. */
  readonly finite?: boolean;
  /**
   * Prefixes to strip where every tensor's name begins with one, as wrappers for many devices and for compilation leave them.
   * Default `["module.", "_orig_mod."]`.
   */
  readonly strip?: readonly string[];
}

/** What files that are mistaken for checkpoints begin with. */
const OTHERS: readonly (readonly [beginning: string, what: string])[] = [
  ["version https://git-lfs", "a Git LFS pointer, not the file itself: fetch it with git lfs pull"],
  ["<", "a web page or XML: the download went to a page instead of the file"],
  ["GGUF", "a GGUF file: convert it to safetensors"],
  ["\x89HDF", "an HDF5 file (Keras): convert it to safetensors"],
  ["\x93NUMPY", "a NumPy array: convert it to safetensors"],
  ["\x1f\x8b", "a gzip archive: unpack it first"],
];

/**
 * Opens a safetensors file, a zip or a legacy pickle of `torch.save` (`.pt`, `.pth`, `.bin`, `.ckpt`) or a TorchScript archive. Only the header is read.
 * The source is closed by the checkpoint's `close()`, or at once when opening fails.
 * @throws CheckpointError saying what is wrong where; for a file of none of the formats, what it looks like.
 */
export async function openCheckpoint(source: ByteSource, options: CheckpointOptions = {}): Promise<Checkpoint> {
  try {
    return withCheckpointOptions(await openFormat(source, options), options);
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function openFormat(source: ByteSource, options: TorchOptions): Promise<Checkpoint> {
  const { name: file, size } = source;
  const head = await source.read(0, Math.min(size, 512));
  const text = String.fromCharCode(...head);
  if (text.startsWith("PK\x03\x04")) return openTorchZip(source, options);
  if (isTorchLegacy(head)) return openTorchLegacy(source, options);
  // A safetensors file begins with a length, whose bytes may be anything, and goes on with JSON.
  if (head[8] === 0x7b) return openSafetensors(source);
  const other = OTHERS.find(([beginning]) => text.startsWith(beginning));
  if (other) throw new CheckpointError(file, `is ${other[1]}`);
  if (text.startsWith("\x80")) throw new CheckpointError(file, "is a bare pickle, not a file of torch.save");
  if (text.startsWith("ustar", 257)) {
    throw new CheckpointError(
      file,
      "is a tar archive, as PyTorch before 0.1.10 wrote: load and save it with a newer one",
    );
  }
  return openSafetensors(source);
}

/** A model may be compiled and spread over devices, more than once, but not without end. */
const MAX_WRAPPED = 4;

/** The common prefix to strip, `""` for none. A name that is nothing but the prefix keeps it. */
function commonPrefix(names: readonly string[], prefixes: readonly string[]): string {
  let stripped = "";
  for (let wrapped = 0; wrapped < MAX_WRAPPED && names.length > 0; wrapped++) {
    const next = prefixes.find((prefix) => names.every((name) => name.startsWith(stripped + prefix)));
    if (!next || names.some((name) => name.length === stripped.length + next.length)) break;
    stripped += next;
  }
  return stripped;
}

/** Element size, and the exponent's bits in an element's highest word: all ones mean NaN or infinity. */
const EXPONENTS: Partial<Record<SafetensorsDType, readonly [size: 2 | 4 | 8, mask: number]>> = {
  F16: [2, 0x7c00],
  BF16: [2, 0x7f80],
  F32: [4, 0x7f800000],
  F64: [8, 0x7ff00000],
};

/** Index of the first NaN or infinity, or -1. */
export function firstNonFinite(bytes: Uint8Array, dtype: SafetensorsDType): number {
  const [size, mask] = EXPONENTS[dtype] ?? [0, 0];
  if (size === 0) return -1;
  const unit = size === 2 ? 2 : 4;
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % unit === 0 ? bytes : bytes.slice();
  const words =
    unit === 2
      ? new Uint16Array(buffer, byteOffset, byteLength / 2)
      : new Uint32Array(buffer, byteOffset, byteLength / 4);
  const step = size === 8 ? 2 : 1;
  for (let i = step - 1; i < words.length; i += step) {
    if ((words[i]! & mask) === mask) return (i - (step - 1)) / step;
  }
  return -1;
}

/** The checkpoint as the options want it read; `wrapper` is for the reader. */
export function withCheckpointOptions(checkpoint: Checkpoint, options: CheckpointOptions): Checkpoint {
  const { halves = "keep", finite = false, strip = ["module.", "_orig_mod."] } = options;
  const prefix = commonPrefix([...checkpoint.tensors.keys()], strip);
  const widen = (dtype: SafetensorsDType): boolean => halves === "widen" && (dtype === "F16" || dtype === "BF16");
  if (!finite && halves === "keep" && !prefix) return checkpoint;
  const tensors = new Map<string, TensorHeader>();
  for (const { name, dtype, shape } of checkpoint.tensors.values()) {
    const short = name.slice(prefix.length);
    tensors.set(short, { name: short, dtype: widen(dtype) ? "F32" : dtype, shape });
  }
  return makeCheckpoint({
    ...checkpoint,
    tensors,
    close: () => checkpoint.close(),
    async read({ name }, into) {
      const { dtype, bytes } = await checkpoint.read(prefix + name, into);
      const bad = finite ? firstNonFinite(bytes, dtype) : -1;
      if (bad >= 0) {
        throw new CheckpointError(
          checkpoint.name,
          `tensor ${JSON.stringify(name)} holds NaN or infinity (first at element ${bad}): the file is damaged or its training diverged`,
        );
      }
      if (!widen(dtype)) return bytes;
      const { buffer, byteOffset, byteLength } = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
      const half = new Uint16Array(buffer, byteOffset, byteLength / 2);
      const wide = dtype === "F16" ? f16ToF32(half) : bf16ToF32(half);
      return new Uint8Array(wide.buffer);
    },
  });
}
