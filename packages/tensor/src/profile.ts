/** Where the device's time goes: timestamps around every dispatch, summed by kernel. Only while profiling, since each dispatch then has a pass of its own. */

/** Time of one kernel over all its dispatches. */
export interface KernelTime {
  readonly name: string;
  readonly count: number;
  readonly milliseconds: number;
}

/** Collects timestamps of the chunks of a command stream. */
export class Profiler {
  readonly #gpu: GPUDevice;
  readonly #queries: GPUQuerySet;
  readonly #resolved: GPUBuffer;
  readonly #totals = new Map<string, { count: number; nanoseconds: bigint }>();
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
            const total = this.#totals.get(name) ?? { count: 0, nanoseconds: 0n };
            total.count++;
            total.nanoseconds += times[2 * i + 1]! - times[2 * i]!;
            this.#totals.set(name, total);
          });
          staging.unmap();
          staging.destroy();
        }),
      );
    };
  }

  /** The kernels by time, the longest first, after all submitted work. */
  async report(): Promise<KernelTime[]> {
    await Promise.all(this.#pending.splice(0));
    const rows = [...this.#totals].map(([name, { count, nanoseconds }]) => ({
      name,
      count,
      milliseconds: Number(nanoseconds) / 1e6,
    }));
    return rows.sort((a, b) => b.milliseconds - a.milliseconds);
  }

  dispose(): void {
    this.#queries.destroy();
    this.#resolved.destroy();
  }
}
