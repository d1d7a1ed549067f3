/** Random access to the bytes of a file, wherever they are: memory, a Blob, or (in `byte-source.node.ts`) a file on disk. */
import { CheckpointError } from "@refl/tensor";

/** Read-only random access to `size` bytes. `name` is what error messages call the file. */
export interface ByteSource {
  readonly name: string;
  /** Length in bytes. */
  readonly size: number;
  /**
   * The `length` bytes from `offset` on, exactly. The result may share memory with the source: do not write to it.
   * @param into where the bytes may be put if they fit, to spare the memory of a new array; the result is then a view of its beginning
   * @throws CheckpointError when the range is not inside the file or the file cannot be read.
   */
  read(offset: number, length: number, into?: Uint8Array): Promise<Uint8Array>;
  /** Gives back what the source holds open. Safe to call twice. */
  close(): Promise<void>;
}

/** @throws CheckpointError when `[offset, offset + length)` is not a range inside `size` bytes. */
export function checkRange(name: string, size: number, offset: number, length: number): void {
  if (
    !Number.isSafeInteger(offset) ||
    !Number.isSafeInteger(length) ||
    offset < 0 ||
    length < 0 ||
    length > size - offset
  ) {
    throw new CheckpointError(name, `bytes ${offset} to ${offset + length} were asked, the file has ${size} bytes`);
  }
}

/** A source over bytes in memory. Reads are views, not copies. */
export function bytesSource(bytes: Uint8Array, name: string): ByteSource {
  return {
    name,
    size: bytes.byteLength,
    async read(offset, length) {
      checkRange(name, bytes.byteLength, offset, length);
      return bytes.subarray(offset, offset + length);
    },
    async close() {},
  };
}

/** A source over a `Blob` or `File` (a picked file, an OPFS file, a response body); only the ranges that are read are loaded. */
export function blobSource(blob: Blob, name: string): ByteSource {
  return {
    name,
    size: blob.size,
    async read(offset, length) {
      checkRange(name, blob.size, offset, length);
      let buffer: ArrayBuffer;
      try {
        buffer = await blob.slice(offset, offset + length).arrayBuffer();
      } catch (cause) {
        throw new CheckpointError(name, `cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`);
      }
      if (buffer.byteLength !== length) {
        throw new CheckpointError(name, `${length} bytes from ${offset} on were asked, ${buffer.byteLength} came`);
      }
      return new Uint8Array(buffer);
    },
    async close() {},
  };
}

/** All bytes of a source. */
export function readAll(source: ByteSource): Promise<Uint8Array> {
  return source.read(0, source.size);
}
