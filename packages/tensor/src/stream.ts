/** The command stream: ops encode into one open compute pass, parameters go to one ring, and chunks are submitted so that the GPU starts early. */
import type { PooledBuffer } from "./pool.ts";
import { Profiler } from "./profile.ts";

/**
 * Dispatches per submit. Measured on Dawn with a software adapter: one submit per 16 costs 8.6 us per dispatch, one big pass 9–14 us,
 * one per dispatch 20–30 us; on a discrete GPU chunks of 16–32 start the device while the host still encodes.
 */
const CHUNK = 32;

/** Steps of a plan per submit. */
const REPLAY_CHUNK = 256;

/** Largest parameter block, and the slot width: a multiple of every adapter's offset alignment (at most 256). */
const SLOT = 256;

/** Dynamic offsets of the slots, made once: a list per dispatch would be garbage. */
const OFFSETS = Array.from({ length: CHUNK }, (_, i) => [i * SLOT]);

/** A dispatch of a plan, ready to encode: `offsets` is the place of its parameters. */
export interface PreparedDispatch {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly offsets: readonly number[];
  readonly x: number;
  readonly y: number;
  readonly z: number;
}

/** A copy of a plan, in bytes. */
export interface PreparedCopy {
  readonly pipeline: null;
  readonly from: GPUBuffer;
  readonly fromOffset: number;
  readonly to: GPUBuffer;
  readonly toOffset: number;
  readonly bytes: number;
}

export type PreparedStep = PreparedDispatch | PreparedCopy;

export class CommandStream {
  readonly #gpu: GPUDevice;
  readonly #ring: GPUBuffer;
  readonly #mirror = new ArrayBuffer(CHUNK * SLOT);
  #encoder: GPUCommandEncoder | null = null;
  #pass: GPUComputePassEncoder | null = null;
  #pipeline: GPUComputePipeline | null = null;
  #count = 0;
  #profiler: Profiler | null = null;
  /** Dispatches encoded since the stream began; figures and the waiting estimate use differences of it. */
  dispatches = 0;
  /** Submits since the stream began. */
  submits = 0;

  constructor(gpu: GPUDevice) {
    this.#gpu = gpu;
    this.#ring = gpu.createBuffer({
      label: "params",
      size: CHUNK * SLOT,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
  }

  /** The ring, for bind groups: bind `slotBytes` of it with a dynamic offset. */
  get params(): GPUBuffer {
    return this.#ring;
  }

  static readonly slotBytes = SLOT;

  /** Where the parameters of the next {@link dispatch} go, in {@link params}; to be written before it. */
  nextSlot(): number {
    if (this.#count === CHUNK) this.flush();
    return this.#count * SLOT;
  }

  /** The parameters of the chunk that is open. */
  readonly slots = new DataView(this.#mirror);

  /** Encodes one dispatch with the parameters that were written at {@link nextSlot}. */
  dispatch(pipeline: GPUComputePipeline, group: GPUBindGroup, grid: readonly [number, number, number]): void {
    this.#encoder ??= this.#gpu.createCommandEncoder();
    if (this.#profiler) this.#endPass();
    this.#pass ??= this.#encoder.beginComputePass(this.#profiler?.next(pipeline.label));
    if (pipeline !== this.#pipeline) {
      this.#pass.setPipeline(pipeline);
      this.#pipeline = pipeline;
    }
    this.#pass.setBindGroup(0, group, OFFSETS[this.#count]!);
    this.#pass.dispatchWorkgroups(grid[0], grid[1], grid[2]);
    this.#count++;
    this.dispatches++;
  }

  /**
   * Submits prepared steps after everything encoded so far. Chunks are larger than those of single ops, because their encoding costs so little that
   * the device hardly waits for it.
   */
  replay(steps: readonly PreparedStep[]): void {
    this.flush();
    const chunk = this.#profiler ? CHUNK : REPLAY_CHUNK;
    for (let from = 0; from < steps.length; from += chunk) {
      this.#submitPrepared(steps, from, Math.min(from + chunk, steps.length));
    }
  }

  #submitPrepared(steps: readonly PreparedStep[], from: number, to: number): void {
    const encoder = this.#gpu.createCommandEncoder();
    const profiler = this.#profiler;
    let pass: GPUComputePassEncoder | null = null;
    let pipeline: GPUComputePipeline | null = null;
    for (let i = from; i < to; i++) {
      const step = steps[i]!;
      if (pass && (profiler || step.pipeline === null)) {
        pass.end();
        pass = null;
      }
      if (step.pipeline === null) {
        encoder.copyBufferToBuffer(step.from, step.fromOffset, step.to, step.toOffset, step.bytes);
        continue;
      }
      if (pass === null) {
        pass = encoder.beginComputePass(profiler?.next(step.pipeline.label));
        pipeline = null;
      }
      if (step.pipeline !== pipeline) {
        pipeline = step.pipeline;
        pass.setPipeline(pipeline);
      }
      pass.setBindGroup(0, step.group, step.offsets);
      pass.dispatchWorkgroups(step.x, step.y, step.z);
      this.dispatches++;
    }
    pass?.end();
    const read = profiler?.finish(encoder);
    this.#gpu.queue.submit([encoder.finish()]);
    read?.();
    this.submits++;
  }

  /** Encodes a buffer copy; sizes and offsets in bytes, multiples of 4. */
  copy(from: GPUBuffer, fromOffset: number, to: GPUBuffer, toOffset: number, bytes: number): void {
    this.#endPass();
    this.#encoder ??= this.#gpu.createCommandEncoder();
    this.#encoder.copyBufferToBuffer(from, fromOffset, to, toOffset, bytes);
  }

  /** Writes host bytes into a buffer, after everything encoded so far. */
  write(to: PooledBuffer, offset: number, bytes: ArrayBuffer | Uint8Array<ArrayBuffer>): void {
    this.flush();
    const whole = bytes.byteLength & ~3;
    if (whole) this.#gpu.queue.writeBuffer(to.gpu, offset, bytes, 0, whole);
    if (whole < bytes.byteLength) {
      const tail = new Uint8Array(4);
      tail.set(bytes instanceof ArrayBuffer ? new Uint8Array(bytes, whole) : bytes.subarray(whole));
      this.#gpu.queue.writeBuffer(to.gpu, offset + whole, tail);
    }
  }

  /** Submits what is encoded. The ring is written before the submit and, as the queue keeps order, after all earlier ones have read it. */
  flush(): void {
    this.#endPass();
    if (!this.#encoder) return;
    if (this.#count) this.#gpu.queue.writeBuffer(this.#ring, 0, this.#mirror, 0, this.#count * SLOT);
    const read = this.#profiler?.finish(this.#encoder);
    this.#gpu.queue.submit([this.#encoder.finish()]);
    read?.();
    this.#encoder = null;
    this.#count = 0;
    this.submits++;
  }

  /** Whether dispatches are being timed. */
  get profiling(): boolean {
    return this.#profiler !== null;
  }

  /** Times every dispatch from now on until {@link stopProfiling}. */
  startProfiling(): Profiler {
    this.flush();
    this.#profiler = new Profiler(this.#gpu, CHUNK);
    return this.#profiler;
  }

  stopProfiling(): void {
    this.flush();
    this.#profiler?.dispose();
    this.#profiler = null;
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = null;
    this.#pipeline = null;
  }
}
