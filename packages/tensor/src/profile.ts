/** Where the device's time goes: timestamps around every dispatch, summed by kernel. Only while profiling, since each dispatch then has a pass of its own. */

/** Time of one kernel over all its dispatches. */
export interface KernelTime {
  readonly name: string;
  readonly count: number;
  readonly milliseconds: number;
}

/** One dispatch in time, in milliseconds from the first dispatch of the profile. */
export interface KernelEvent {
  readonly name: string;
  readonly start: number;
  readonly milliseconds: number;
}

/** Collects timestamps of the chunks of a command stream. */
export class Profiler {
  readonly #gpu: GPUDevice;
  readonly #queries: GPUQuerySet;
  readonly #resolved: GPUBuffer;
  readonly #events: { name: string; begin: bigint; end: bigint }[] = [];
  readonly #pending: Promise<void>[] = [];
  #names: string[] = [];

  /** `capacity` is the most dispatches of a chunk. The device needs `timestamp-query`. */
  constructor(gpu: GPUDevice, capacity: number) {
    this.#gpu = gpu;
    this.#queries = gpu.createQuerySet({ type: "timestamp", count: 2 * capacity });
    this.#resolved = gpu.createBuffer({
      size: 16 * capacity,
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    });
  }

  /** The timestamps of the next dispatch's own pass. */
  next(name: string): GPUComputePassDescriptor {
    const at = this.#names.push(name) - 1;
    return {
      timestampWrites: { querySet: this.#queries, beginningOfPassWriteIndex: 2 * at, endOfPassWriteIndex: 2 * at + 1 },
    };
  }

  /** Encodes the readback of a chunk's timestamps; the returned function starts it once the chunk was submitted. */
  finish(encoder: GPUCommandEncoder): () => void {
    const names = this.#names;
    this.#names = [];
    if (!names.length) return () => {};
    const bytes = names.length * 16;
    const staging = this.#gpu.createBuffer({ size: bytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    encoder.resolveQuerySet(this.#queries, 0, 2 * names.length, this.#resolved, 0);
    encoder.copyBufferToBuffer(this.#resolved, 0, staging, 0, bytes);
    return () => {
      this.#pending.push(
        staging.mapAsync(GPUMapMode.READ).then(() => {
          const times = new BigUint64Array(staging.getMappedRange());
          names.forEach((name, i) => {
            this.#events.push({ name, begin: times[2 * i]!, end: times[2 * i + 1]! });
          });
          staging.unmap();
          staging.destroy();
        }),
      );
    };
  }

  /** Every dispatch in order, after all submitted work. */
  async events(): Promise<KernelEvent[]> {
    await Promise.all(this.#pending.splice(0));
    const origin = this.#events[0]?.begin ?? 0n;
    return this.#events.map(({ name, begin, end }) => ({
      name,
      start: Number(begin - origin) / 1e6,
      milliseconds: Number(end - begin) / 1e6,
    }));
  }

  dispose(): void {
    this.#queries.destroy();
    this.#resolved.destroy();
  }
}

/** The kernels by time, the longest first. */
export function kernelTimes(events: readonly KernelEvent[]): KernelTime[] {
  const totals = new Map<string, { count: number; milliseconds: number }>();
  for (const { name, milliseconds } of events) {
    const total = totals.get(name) ?? { count: 0, milliseconds: 0 };
    total.count++;
    total.milliseconds += milliseconds;
    totals.set(name, total);
  }
  return [...totals].map(([name, total]) => ({ name, ...total })).sort((a, b) => b.milliseconds - a.milliseconds);
}

/**
 * Milliseconds of works that were encoded in turn, round after round: `counts` has the dispatches of each in order. The first round is left out. [work][round].
 */
export async function sumEvents(
  events: Promise<readonly KernelEvent[]>,
  counts: readonly number[],
  works: number,
): Promise<number[][]> {
  const all = await events;
  const sums: number[][] = Array.from({ length: works }, () => []);
  let at = 0;
  counts.forEach((count, i) => {
    let sum = 0;
    for (const { milliseconds } of all.slice(at, at + count)) sum += milliseconds;
    at += count;
    if (i >= works) sums[i % works]!.push(sum);
  });
  return sums;
}

/** Dispatches as Chrome's trace format, which chrome://tracing and Perfetto read. */
export function chromeTrace(events: readonly KernelEvent[], processName: string): string {
  const named = { name: "process_name", ph: "M", pid: 1, args: { name: processName } };
  const spans = events.map(({ name, start, milliseconds }, i) => ({
    name,
    cat: "kernel",
    ph: "X",
    pid: 1,
    tid: 1,
    ts: start * 1000,
    dur: milliseconds * 1000,
    args: { dispatch: i },
  }));
  return JSON.stringify({ displayTimeUnit: "ms", traceEvents: [named, ...spans] });
}
