/** Device memory: buffers in size classes, counted storages that own them, high-water figures and a budget. */
import { DisposedError, LimitError, OutOfMemoryError } from "./errors.ts";

/** Smallest buffer; also keeps a vec4 that hangs over the last element inside the buffer. */
const MIN_BYTES = 256;

/** Largest class that is a power of two; above, an octave has so many classes. */
const SMALL_BYTES = 2 ** 16;
const STEPS = 8;

/** Size class of a request: powers of two up to 64 KiB, then 8 to an octave, so that at most a ninth of a large buffer is slack. */
export function sizeClass(bytes: number): number {
  if (bytes <= MIN_BYTES) return MIN_BYTES;
  if (bytes <= SMALL_BYTES) return 2 ** Math.ceil(Math.log2(bytes));
  const step = 2 ** Math.floor(Math.log2(bytes)) / STEPS;
  return Math.ceil(bytes / step) * step;
}

/** Bytes now and at their highest since {@link BufferPool.resetPeak}. */
export interface MemoryReport {
  /** Held by live storages. */
  readonly inUse: number;
  /** The highest `inUse`. */
  readonly peak: number;
  /** Held on the device, free buffers included. */
  readonly reserved: number;
  /** Number of live storages. */
  readonly storages: number;
  readonly budget: number;
}

/** Memory of all storages of one label, in bytes. */
export interface LabelledMemory {
  readonly label: string;
  readonly bytes: number;
  readonly storages: number;
}

/** A pooled buffer with an identity that bind groups can be cached by. */
export interface PooledBuffer {
  readonly gpu: GPUBuffer;
  readonly bytes: number;
  readonly id: number;
}

/** Who takes a storage's buffer back when its last reference goes. */
export interface StorageOwner {
  giveBack(storage: Storage, buffer: PooledBuffer): void;
}

/** Hands out buffers and takes them back. Work on one queue runs in order, so a buffer given back may be reused by the very next dispatch. */
export class BufferPool implements StorageOwner {
  readonly #gpu: GPUDevice;
  readonly #limit: number;
  readonly #budget: number;
  readonly #free = new Map<number, PooledBuffer[]>();
  readonly #live = new Set<Storage>();
  #nextId = 1;
  #inUse = 0;
  #peak = 0;
  #reserved = 0;

  /** `budget`: most bytes of all buffers, `largest`: of one. */
  constructor(gpu: GPUDevice, budget: number, largest: number) {
    this.#gpu = gpu;
    this.#limit = largest;
    this.#budget = budget;
  }

  /** Throws {@link LimitError} when a storage of `bytes` could not be bound. */
  expectBindable(bytes: number, label: string): void {
    if (bytes > this.#limit)
      throw new LimitError(
        `${label}: storage binding in bytes`,
        bytes,
        this.#limit,
        "split the tensor along its first axis",
      );
  }

  /** A new storage of at least `bytes`, its content undefined. Throws {@link LimitError} or {@link OutOfMemoryError}. */
  allocate(bytes: number, label: string): Storage {
    this.expectBindable(bytes, label);
    const size = Math.min(sizeClass(bytes), Math.floor(this.#limit / 4) * 4);
    const buffer = this.#free.get(size)?.pop() ?? this.#create(size);
    const storage = new Storage(this, buffer, label);
    this.#count(storage, buffer);
    return storage;
  }

  /** A storage of exactly `bytes` (a multiple of 4), whose buffer is destroyed with its last reference. Throws {@link OutOfMemoryError}. */
  allocateExactly(bytes: number, label: string, usage?: GPUBufferUsageFlags): Storage {
    const buffer = this.#create(bytes, usage);
    const destroyed: StorageOwner = {
      giveBack: (storage) => {
        this.#live.delete(storage);
        this.#inUse -= bytes;
        this.#reserved -= bytes;
        buffer.gpu.destroy();
      },
    };
    const storage = new Storage(destroyed, buffer, label);
    this.#count(storage, buffer);
    return storage;
  }

  /** Gives a storage that had no memory yet a buffer of at least `bytes`, and takes it over. Throws as {@link allocate}. */
  adopt(storage: Storage, bytes: number): void {
    const donor = this.allocate(bytes, storage.label);
    const { buffer } = donor;
    this.#live.delete(donor);
    this.#live.add(storage);
    storage.moveTo(this, buffer);
  }

  #count(storage: Storage, buffer: PooledBuffer): void {
    this.#live.add(storage);
    this.#inUse += buffer.bytes;
    if (this.#inUse <= this.#peak) return;
    this.#peak = this.#inUse;
    this.onPeak?.();
  }

  #create(
    size: number,
    usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  ): PooledBuffer {
    if (this.#reserved + size > this.#budget) {
      this.trim();
      if (this.#reserved + size > this.#budget)
        throw new OutOfMemoryError(size, this.#inUse, this.#budget, this.holders());
    }
    this.#reserved += size;
    const gpu = this.#gpu.createBuffer({ size, usage });
    return { gpu, bytes: size, id: this.#nextId++ };
  }

  /** @internal Called by {@link Storage.release}. */
  giveBack(storage: Storage, buffer: PooledBuffer): void {
    this.#live.delete(storage);
    this.#inUse -= buffer.bytes;
    const free = this.#free.get(buffer.bytes);
    if (!free) {
      this.#free.set(buffer.bytes, [buffer]);
      return;
    }
    // Kept with the lowest number last, which is taken next: equal steps then get equal buffers whatever order they give them back in, and
    // find their bind groups cached. Last in, first out missed half of them (600 of 1,360 per step of a small UNet, 1 ms per 10).
    let low = 0;
    let high = free.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (free[middle]!.id > buffer.id) low = middle + 1;
      else high = middle;
    }
    free.splice(low, 0, buffer);
  }

  /** Called before buffers are destroyed: pending work must be submitted and cached bind groups dropped. */
  onTrim: () => void = () => {};

  /** Called whenever {@link MemoryReport.peak} rises. */
  onPeak: (() => void) | null = null;

  /** Destroys all free buffers. Submitted work that uses them still completes: WebGPU destroys after use. */
  trim(): void {
    this.onTrim();
    for (const list of this.#free.values()) {
      for (const buffer of list) {
        this.#reserved -= buffer.bytes;
        buffer.gpu.destroy();
      }
    }
    this.#free.clear();
  }

  report(): MemoryReport {
    return {
      inUse: this.#inUse,
      peak: this.#peak,
      reserved: this.#reserved,
      storages: this.#live.size,
      budget: this.#budget,
    };
  }

  resetPeak(): void {
    this.#peak = this.#inUse;
  }

  /** What is held by label, the most first. */
  labelled(): LabelledMemory[] {
    const byLabel = new Map<string, { bytes: number; storages: number }>();
    for (const storage of this.#live) {
      const entry = byLabel.get(storage.label) ?? { bytes: 0, storages: 0 };
      entry.bytes += storage.bytes;
      entry.storages++;
      byLabel.set(storage.label, entry);
    }
    return [...byLabel].map(([label, held]) => ({ label, ...held })).sort((x, y) => y.bytes - x.bytes);
  }

  /** The labels that hold most, for messages: `label × count = MiB`. */
  holders(most = 5): string {
    const rows = this.labelled().slice(0, most);
    return (
      rows
        .map(({ label, bytes, storages }) => `${label} × ${storages} = ${(bytes / 2 ** 20).toFixed(1)} MiB`)
        .join(", ") || "nothing"
    );
  }
}

/** A counted buffer. It starts with one reference, which the tensor that made it holds; the last {@link release} gives the buffer back. */
export class Storage {
  #owner: StorageOwner;
  #buffer: PooledBuffer | null;
  #references = 1;
  readonly label: string;

  constructor(owner: StorageOwner, buffer: PooledBuffer, label: string) {
    this.#owner = owner;
    this.#buffer = buffer;
    this.label = label;
  }

  /** The buffer. Throws {@link DisposedError} once it was given back. */
  get buffer(): PooledBuffer {
    if (!this.#buffer) throw new DisposedError(`storage of ${this.label}`);
    return this.#buffer;
  }

  get bytes(): number {
    return this.#buffer?.bytes ?? 0;
  }

  /** @internal Changes owner and buffer under all references. */
  moveTo(owner: StorageOwner, buffer: PooledBuffer): void {
    this.#owner = owner;
    this.#buffer = buffer;
  }

  retain(): this {
    if (!this.#buffer) throw new DisposedError(`storage of ${this.label}`);
    this.#references++;
    return this;
  }

  release(): void {
    if (this.#buffer && --this.#references === 0) {
      const buffer = this.#buffer;
      this.#buffer = null;
      this.#owner.giveBack(this, buffer);
    }
  }
}
