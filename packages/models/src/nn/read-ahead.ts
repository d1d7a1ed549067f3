/** Reading a checkpoint's tensors in turn, the next ones while the caller has one. */
import { numel } from "@refl/tensor";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { dtypeSize, type TensorEntry } from "../formats/safetensors.ts";

/** Most reads under way, and bytes of the buffers of all. A file gives more at once than one by one, and small tensors lie between large ones. */
const MOST_READS = 8;
const MOST_BYTES = 2 ** 26;

/** Memory that serves one read after the other: fresh memory costs more than the reading. */
class Buffers {
  readonly #spare: Uint8Array[] = [];
  #held = 0;

  /** Whether `bytes` more can be had beside what is in use, or must be had because nothing is. */
  hasRoom(bytes: number, inUse: number): boolean {
    return inUse === 0 || inUse + bytes <= MOST_BYTES;
  }

  take(bytes: number): Uint8Array {
    const fitting = this.#spare.findIndex((spare) => spare.length >= bytes);
    if (fitting >= 0) return this.#spare.splice(fitting, 1)[0]!;
    // None is large enough: the largest make room, since what is asked for now is larger.
    while (this.#spare.length > 0 && this.#held + bytes > MOST_BYTES) this.#held -= this.#spare.pop()!.length;
    this.#held += bytes;
    return new Uint8Array(bytes);
  }

  /** Spare buffers are kept by length, so that the smallest that fits is taken. */
  giveBack(buffer: Uint8Array): void {
    const at = this.#spare.findIndex((spare) => spare.length >= buffer.length);
    this.#spare.splice(at < 0 ? this.#spare.length : at, 0, buffer);
  }
}

interface Reading {
  readonly key: string;
  readonly buffer: Uint8Array;
  readonly entry: Promise<TensorEntry>;
}

/**
 * Entries of a checkpoint under other keys, in the order asked for; an entry's bytes last until the next is asked for. Up to eight of the next ones, and 64 MiB, are
 * read meanwhile.
 * @throws CheckpointError as `Checkpoint.read`, when the entry's turn comes
 */
export async function* readAhead(
  source: Checkpoint,
  wanted: Iterable<readonly [key: string, stored: string]>,
): AsyncGenerator<[key: string, entry: TensorEntry]> {
  const buffers = new Buffers();
  const queue: Reading[] = [];
  const rest = [...wanted].reverse();
  let inUse = 0;
  const begin = (): void => {
    while (rest.length > 0 && queue.length < MOST_READS) {
      const [key, stored] = rest.at(-1)!;
      const { dtype, shape } = source.tensors.get(stored)!;
      const bytes = dtypeSize(dtype) * numel(shape);
      if (!buffers.hasRoom(bytes, inUse)) return;
      const buffer = buffers.take(bytes);
      inUse += buffer.length;
      const entry = source.read(stored, buffer);
      // Its failure is told when its turn comes; a caller that failed before does not ask.
      entry.catch(() => {});
      queue.push({ key, buffer, entry });
      rest.pop();
    }
  };
  begin();
  for (let next = queue.shift(); next; next = queue.shift()) {
    const entry = await next.entry;
    begin();
    yield [next.key, entry];
    buffers.giveBack(next.buffer);
    inUse -= next.buffer.length;
    begin();
  }
}
