/** A `ByteSource` over a file on disk, held open from the first byte to `close()`, so that a replaced file is never read half and half. */
import { open } from "node:fs/promises";
import { CheckpointError } from "@refl/tensor";
import { type ByteSource, checkRange } from "./byte-source.ts";

/**
 * Opens a file for random access. `name` is what error messages say, the path unless given.
 * @throws CheckpointError when the file is missing, is no regular file or cannot be read.
 */
export async function openFileSource(path: string, name: string = path): Promise<ByteSource> {
  const fail = (cause: unknown): never => {
    throw new CheckpointError(name, `cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`);
  };
  const handle = await open(path, "r").catch(fail);
  const stat = await handle.stat().catch(async (cause) => {
    await handle.close();
    return fail(cause);
  });
  if (!stat.isFile()) {
    await handle.close();
    throw new CheckpointError(name, "is not a regular file");
  }
  let closed = false;
  return {
    name,
    size: stat.size,
    async read(offset, length, into) {
      if (closed) throw new CheckpointError(name, "was closed before this read");
      checkRange(name, stat.size, offset, length);
      const bytes = into && into.byteLength >= length ? into.subarray(0, length) : new Uint8Array(length);
      let done = 0;
      while (done < length) {
        const { bytesRead } = await handle.read(bytes, done, length - done, offset + done).catch(fail);
        if (bytesRead === 0)
          throw new CheckpointError(name, `ends at byte ${offset + done}, it had ${stat.size} when opened`);
        done += bytesRead;
      }
      return bytes;
    },
    async close() {
      if (closed) return;
      closed = true;
      await handle.close();
    },
  };
}
