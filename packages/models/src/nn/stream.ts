/** Files of tensors that are read from the device while they are written, a few at a time. */
import type { Tensor } from "@refl/tensor";
import type { TensorHeader } from "../formats/checkpoint.ts";
import { float32Bytes } from "../formats/entries.ts";
import { streamSafetensors } from "../formats/safetensors.ts";
import { readValues } from "./read.ts";

/** Elements in host memory at once: 8 MiB of f32. Larger reads are no faster, and what is read is garbage at the next. */
const PIECE = 2 ** 21;

/** A tensor for a file as a device holds it: whole, or in parts along its first axis. */
export interface DeviceEntry {
  readonly name: string;
  readonly shape: readonly number[];
  /** Float tensors; f16 is widened, which is exact. */
  readonly parts: readonly Tensor[];
}

export interface StreamOptions {
  /** Element type of the file. Default F32. */
  readonly dtype?: "F32" | "F16" | "BF16";
  readonly metadata?: Readonly<Record<string, string>>;
  /** What error messages call the file. */
  readonly file?: string;
}

/**
 * A safetensors file of tensors on a device, as `writeSafetensors` makes it of their values, in pieces of at most 8 MiB (the header is a piece of its own), each read
 * when it is asked for. The tensors must keep their values until the last.
 */
export function streamTensors(entries: Iterable<DeviceEntry>, options: StreamOptions = {}): AsyncIterable<Uint8Array> {
  const { dtype = "F32", metadata, file } = options;
  const headers = [...entries].map((entry): DeviceEntry & TensorHeader => ({ ...entry, dtype }));
  const data = async function* (ordered: readonly DeviceEntry[]): AsyncGenerator<Uint8Array> {
    const parts = ordered.flatMap((entry) => entry.parts);
    for await (const values of readValues(parts, PIECE)) yield float32Bytes(values, dtype);
  };
  return streamSafetensors(headers, data, metadata, file);
}
