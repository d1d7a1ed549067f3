/** Planned memory: where each value of a plan lies, from when it is first used until when it is last used, in as few bytes as may be. */
import type { BufferPool, Storage } from "../pool.ts";

/** Offsets of bindings: the strictest alignment that an adapter may ask for. */
export const ALIGNMENT = 256;

/** A value to be placed. */
export interface Interval {
  readonly bytes: number;
  /** First and last step that uses it. */
  readonly first: number;
  readonly last: number;
  /** Values that one step binds together with this one, one of them written: WebGPU forbids them to share a buffer. */
  readonly apart: ReadonlySet<number>;
}

/** Where a value lies: `buffer` counts into the sizes of the layout. */
export interface Place {
  readonly buffer: number;
  readonly offset: number;
}

export interface Layout {
  readonly places: readonly Place[];
  /** Bytes of each buffer, largest first. */
  readonly sizes: readonly number[];
  /** The most bytes that any one step finds in use: no layout needs fewer. */
  readonly lowerBound: number;
}

const aligned = (bytes: number): number => Math.ceil(Math.max(bytes, 1) / ALIGNMENT) * ALIGNMENT;

/**
 * Greedy by size (Pisarchyk & Lee 2020, arXiv 2001.03288), with several buffers instead of one because of `apart`: the largest values come first, each
 * into the tightest gap that is free during its whole interval; where there is none, a new buffer of its size begins.
 */
export function planLayout(values: readonly Interval[]): Layout {
  const order = values.map((_, i) => i).sort((a, b) => values[b]!.bytes - values[a]!.bytes || a - b);
  const buffers: { readonly size: number; readonly tenants: number[] }[] = [];
  const places: Place[] = [];
  for (const i of order) {
    const value = values[i]!;
    const size = aligned(value.bytes);
    let best: { buffer: number; offset: number; slack: number } | null = null;
    for (const [number, buffer] of buffers.entries()) {
      const gap = tightestGap(buffer, size, value, values, places);
      if (gap && (!best || gap.slack < best.slack)) best = { buffer: number, ...gap };
      if (best?.slack === 0) break;
    }
    if (!best) {
      buffers.push({ size, tenants: [] });
      best = { buffer: buffers.length - 1, offset: 0, slack: 0 };
    }
    buffers[best.buffer]!.tenants.push(i);
    places[i] = { buffer: best.buffer, offset: best.offset };
  }
  return { places, sizes: buffers.map(({ size }) => size), lowerBound: lowerBound(values) };
}

function tightestGap(
  { size, tenants }: { readonly size: number; readonly tenants: readonly number[] },
  wanted: number,
  value: Interval,
  values: readonly Interval[],
  places: readonly Place[],
): { offset: number; slack: number } | null {
  if (wanted > size) return null;
  const taken: { from: number; to: number }[] = [];
  for (const tenant of tenants) {
    const other = values[tenant]!;
    if (other.first > value.last || other.last < value.first) continue;
    if (value.apart.has(tenant)) return null;
    const { offset } = places[tenant]!;
    taken.push({ from: offset, to: offset + aligned(other.bytes) });
  }
  taken.sort((a, b) => a.from - b.from);
  taken.push({ from: size, to: size });
  let best: { offset: number; slack: number } | null = null;
  let at = 0;
  for (const { from, to } of taken) {
    const slack = from - at - wanted;
    if (slack >= 0 && (!best || slack < best.slack)) best = { offset: at, slack };
    at = Math.max(at, to);
  }
  return best;
}

/** The most bytes in use at any step. */
function lowerBound(values: readonly Interval[]): number {
  const changes = new Map<number, number>();
  for (const { bytes, first, last } of values) {
    changes.set(first, (changes.get(first) ?? 0) + aligned(bytes));
    changes.set(last + 1, (changes.get(last + 1) ?? 0) - aligned(bytes));
  }
  let now = 0;
  let most = 0;
  for (const at of [...changes.keys()].sort((a, b) => a - b)) {
    now += changes.get(at)!;
    most = Math.max(most, now);
  }
  return most;
}

/**
 * The buffers that plans keep their values in. What one replay leaves in them no other needs, so plans that run in turn may share one arena,
 * which is then as large as the largest of them.
 */
export class Arena {
  readonly #pool: BufferPool;
  #storages: Storage[] = [];
  #generation = 0;

  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  /** Counts up whenever buffers change: bind groups of an earlier generation are void. */
  get generation(): number {
    return this.#generation;
  }

  get bytes(): number {
    return this.#storages.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Buffer number `index`, which has at least the bytes that were reserved for it. */
  buffer(index: number): GPUBuffer {
    return this.#storages[index]!.buffer.gpu;
  }

  /** Makes room for a layout's `sizes`. Throws {@link OutOfMemoryError}, and then holds what it held. */
  reserve(sizes: readonly number[]): void {
    const grown = new Map<number, Storage>();
    try {
      for (const [i, size] of sizes.entries()) {
        if ((this.#storages[i]?.bytes ?? 0) < size) grown.set(i, this.#pool.allocateExactly(size, "plan"));
      }
    } catch (error) {
      for (const storage of grown.values()) storage.release();
      throw error;
    }
    if (grown.size) this.#generation++;
    for (const [i, storage] of grown) {
      this.#storages[i]?.release();
      this.#storages[i] = storage;
    }
  }

  /** Gives the buffers back; work that was submitted still completes. */
  dispose(): void {
    for (const storage of this.#storages) storage.release();
    this.#storages = [];
    this.#generation++;
  }
}
