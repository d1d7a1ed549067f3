/** The engine's device: the adapter's identity and limits, memory, the command stream, and running kernels. */
import { type Defines, type Kernel, type ParamValues, packParams } from "@refl/kernels-wgsl";
import { CaptureError, DeviceLostError, NoAdapterError, ReflError, type TuneCacheWarning } from "./errors.ts";
import { type Host, webHost } from "./host.ts";
import { ProgramCache } from "./pipeline.ts";
import { Arena } from "./plan/arena.ts";
import { isPlaceholder, Recording, type Step } from "./plan/record.ts";
import { BufferPool, type LabelledMemory, type MemoryReport, type PooledBuffer, type Storage } from "./pool.ts";
import { type KernelEvent, type KernelTime, kernelTimes, sumEvents } from "./profile.ts";
import { scope } from "./scope.ts";
import { CommandStream, type PreparedStep } from "./stream.ts";
import type { KernelChooser } from "./tune/chooser.ts";
import type { TuneStore } from "./tune/store.ts";
import { tuneDevice } from "./tune/table.ts";
import { openTuner, type TuneMode, type Tuner } from "./tune/tuner.ts";

/** Who computes. Every report and benchmark carries it. */
export interface AdapterIdentity {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** True for lavapipe, SwiftShader and the like: their figures say nothing about GPUs. */
  readonly software: boolean;
}

/** What kernels may use on this device. */
export interface Capabilities {
  /** Lanes of a subgroup when all subgroups have that many, else 0; 0 also where the host has no subgroups. */
  readonly subgroupSize: number;
  readonly f16: boolean;
  readonly timestamps: boolean;
}

export interface DeviceOptions {
  /** Default: the page, worker or Deno process itself. In Node pass `nodeHost()` from `@refl/tensor/node`. */
  host?: Host;
  /** A device that the caller owns; `dispose()` then leaves it alone. Its adapter's info should be passed too. */
  gpu?: { device: GPUDevice; info: GPUAdapterInfo };
  powerPreference?: GPUPowerPreference;
  /** `portable` uses neither subgroups nor f16, as on hosts that lack them; `full` uses all that the adapter has. Default `full`. */
  tier?: "portable" | "full";
  /** Most bytes that tensors may hold, free buffers included. Default: no bound but the adapter's. */
  memoryBudget?: number;
  /** What is told of plans and pipelines, by `log`; default 0. */
  debug?: DebugLevel;
  /** Where debug lines go; default `console.error`. */
  log?: (line: string) => void;
  /** Most bytes of one binding, and so of one tensor, where that shall be less than the adapter's: what weaker devices refuse shows on any. */
  largestBinding?: number;
  /**
   * Which kernels ops take where several would do: `off`, the default, the standard ones, which gives the same bits every time; `cached` those that were found
   * fastest before; `online` measures what is new, which needs `timestamp-query`.
   */
  tune?: TuneMode;
  /** Where what was measured is kept between runs; default: nowhere. In Node `fileTuneStore(folder)` from `@refl/tensor/node`, in a page `webTuneStore(localStorage)`. */
  tuneStore?: TuneStore;
  /** Told when the store's table cannot be used or written; default: its message goes to {@link log}. */
  warn?: (warning: TuneCacheWarning) => void;
}

/**
 * 0 tells nothing; 1 a line for every plan that is captured; 2 also its kernels; 3 also every pipeline that is made and how long that took; 4 also runs the
 * code of every plan again before each replay, without its kernels, and fails when it would do something else by now.
 */
export type DebugLevel = 0 | 1 | 2 | 3 | 4;

/** Times of each kernel of which a tuner takes the least. */
const TIMED_ROUNDS = 5;

/** Written bytes that the queue may hold copies of before {@link Device.settleWrites} waits: 64 MiB. */
const MOST_WRITTEN = 2 ** 26;

const WANTED: GPUFeatureName[] = ["shader-f16", "subgroups", "timestamp-query"];
const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxStorageBuffersPerShaderStage",
] as const;

/** Asks the host for an adapter and makes a device with all its limits. Throws {@link NoAdapterError}. */
export async function createDevice(options: DeviceOptions = {}): Promise<Device> {
  if (options.gpu)
    return tuned(new Device(options.gpu.device, options.gpu.info, options, options.host ?? null, false), options);
  const host = options.host ?? webHost();
  const adapter = await host.gpu.requestAdapter(
    options.powerPreference ? { powerPreference: options.powerPreference } : {},
  );
  if (!adapter)
    throw new NoAdapterError(
      "no WebGPU adapter found: install a GPU driver with Vulkan, or Mesa's lavapipe (24 or newer) and the Vulkan loader; on Debian 12: apt-get install -t bookworm-backports mesa-vulkan-drivers libvulkan1",
    );
  const portable = options.tier === "portable";
  const requiredFeatures = WANTED.filter(
    (f) => adapter.features.has(f) && !(portable && (f === "subgroups" || f === "shader-f16")),
  );
  const requiredLimits: Record<string, number> = {};
  for (const name of LIMITS) requiredLimits[name] = adapter.limits[name];
  const gpu = await adapter.requestDevice({ requiredFeatures, requiredLimits });
  return tuned(new Device(gpu, adapter.info, options, host, true), options);
}

/** Gives a device the tuner that its options ask for. */
async function tuned(device: Device, { tune = "off", tuneStore, warn }: DeviceOptions): Promise<Device> {
  if (tune === "off") return device;
  device.tuner = await openTuner({
    mode: tune,
    device: tuneDevice(device.adapter, device.capabilities),
    measure: (works) => device.timeEach(works),
    store: tuneStore ?? null,
    warn: warn ?? ((warning) => device.log(warning.message)),
  });
  device.chooser = device.tuner;
  return device;
}

function identify(info: GPUAdapterInfo): AdapterIdentity {
  const { vendor, architecture, device, description } = info;
  const text = `${vendor} ${architecture} ${device} ${description}`;
  const software =
    /llvmpipe|lavapipe|swiftshader|software|basic render/i.test(text) ||
    (info as { isFallbackAdapter?: boolean }).isFallbackAdapter === true;
  return { vendor, architecture, device, description, software };
}

export class Device {
  readonly gpu: GPUDevice;
  readonly adapter: AdapterIdentity;
  readonly capabilities: Capabilities;
  readonly hostName: string;
  /** Most bytes that one tensor may have: 128 MiB on any adapter, more on many. */
  readonly largestBinding: number;
  /** How much is told by {@link log}. */
  readonly debug: DebugLevel;
  /** Writes a debug line. */
  readonly log: (line: string) => void;
  readonly #pool: BufferPool;
  readonly #stream: CommandStream;
  readonly #programs: ProgramCache;
  readonly #owned: boolean;
  readonly #rest: Host["rest"];
  /** Bytes written since the last {@link sync}. */
  #written = 0;
  /** Picks kernels by what was measured; null with `tune: "off"`. */
  tuner: Tuner | null = null;
  /** @internal Who answers ops that could take several kernels; null: all take their standard one. */
  chooser: KernelChooser | null = null;
  #recording: Recording | null = null;
  /** Memory in place of what a recording has none of yet, while kernels are timed. */
  #standIns: Map<Storage, Storage> | null = null;
  #failure: Error | null = null;
  #disposed = false;

  constructor(gpu: GPUDevice, info: GPUAdapterInfo, options: DeviceOptions, host: Host | null, owned: boolean) {
    this.gpu = gpu;
    this.adapter = identify(info);
    this.hostName = host?.name ?? "given";
    const sizes = info as { subgroupMinSize?: number; subgroupMaxSize?: number };
    const even = gpu.features.has("subgroups") && sizes.subgroupMinSize === sizes.subgroupMaxSize;
    this.capabilities = {
      subgroupSize: even ? (sizes.subgroupMinSize ?? 0) : 0,
      f16: gpu.features.has("shader-f16"),
      timestamps: gpu.features.has("timestamp-query"),
    };
    this.#owned = owned;
    this.debug = options.debug ?? 0;
    this.log = options.log ?? ((line) => console.error(line));
    this.#rest = host?.rest;
    const { maxStorageBufferBindingSize, maxBufferSize } = gpu.limits;
    this.largestBinding = Math.min(
      maxStorageBufferBindingSize,
      maxBufferSize,
      options.largestBinding ?? Number.POSITIVE_INFINITY,
    );
    this.#pool = new BufferPool(gpu, options.memoryBudget ?? Number.POSITIVE_INFINITY, this.largestBinding);
    this.#stream = new CommandStream(gpu);
    this.#programs = new ProgramCache(gpu, this.#stream.params, this.debug >= 3 ? this.log : null);
    this.#pool.onTrim = () => {
      this.#stream.flush();
      this.#programs.dropGroups();
    };
    gpu.addEventListener("uncapturederror", (event) => {
      this.#failure ??= new ReflError(
        "webgpu",
        `WebGPU refused a command: ${(event as GPUUncapturedErrorEvent).error.message}`,
      );
    });
    void gpu.lost.then((lost) => {
      if (!this.#disposed) this.#failure = new DeviceLostError(lost.reason, lost.message);
    });
  }

  /** Memory held by this device's tensors, in bytes. */
  memory(): MemoryReport {
    return this.#pool.report();
  }

  resetPeak(): void {
    this.#pool.resetPeak();
  }

  /** Destroys buffers that no tensor holds. */
  trim(): void {
    this.#pool.trim();
  }

  /**
   * Distinct pipelines made, dispatches encoded and submits so far, and wall seconds that making pipelines took. A host that compiles in another process
   * (browsers) or at a pipeline's first use spends most of its compile time outside of these seconds.
   */
  get counters(): { pipelines: number; compileSeconds: number; dispatches: number; submits: number } {
    return {
      pipelines: this.#programs.size,
      compileSeconds: this.#programs.seconds,
      dispatches: this.#stream.dispatches,
      submits: this.#stream.submits,
    };
  }

  /** A storage of `bytes`, its content undefined; `label` names it in memory reports. Throws {@link LimitError} and {@link OutOfMemoryError}. */
  allocate(bytes: number, label: string): Storage {
    if (this.#failure) throw this.#failure;
    if (!this.#recording) return this.#pool.allocate(bytes, label);
    // What a plan keeps between its steps never comes to the pool, but is bound all the same.
    this.#pool.expectBindable(bytes, label);
    return this.#recording.allocate(bytes, label);
  }

  /** Writes host bytes, in order with the dispatches around it. Throws {@link CaptureError} inside a captured function. */
  write(storage: Storage, offset: number, bytes: ArrayBuffer | Uint8Array<ArrayBuffer>): void {
    this.#recording?.refuse(
      "host values are written, which would be frozen in the plan: pass them as an input, or, where they never change, make them with constant()",
    );
    this.#stream.write(storage.buffer, offset, bytes);
    this.#written += bytes.byteLength;
  }

  /**
   * Waits for the device where much was written since it was last waited for. The queue keeps a copy of each write until the device has done it, and gives none back
   * without such a wait: who loads gigabytes calls this after each write.
   */
  async settleWrites(): Promise<void> {
    if (this.#written > MOST_WRITTEN) await this.sync();
  }

  /** A storage that holds `bytes` and is never written again; a plan that is being captured holds it too. */
  allocateConstant(bytes: ArrayBuffer, size: number, label: string): Storage {
    const storage = this.#pool.allocate(size, label);
    this.#stream.write(storage.buffer, 0, bytes);
    this.#recording?.hold(storage, bytes);
    return storage;
  }

  /** Copies bytes between storages; offsets and size are multiples of 4. */
  copy(from: Storage, fromOffset: number, to: Storage, toOffset: number, bytes: number): void {
    if (this.#recording) {
      this.#recording.copy(from, fromOffset, to, toOffset, bytes);
      return;
    }
    const [source, target] = this.#standIns ? [this.#standIn(from), this.#standIn(to)] : [from, to];
    this.#stream.copy(source.buffer.gpu, fromOffset, target.buffer.gpu, toOffset, bytes);
  }

  /**
   * Encodes one dispatch of `kernel` with `defines` over `storages` in binding order.
   * Throws `RangeError` when their number is not what the kernel binds or a parameter is missing.
   */
  run(
    kernel: Kernel,
    defines: Defines,
    storages: readonly Storage[],
    params: ParamValues,
    grid: readonly [number, number, number],
  ): void {
    const program = this.#programs.program(kernel, defines);
    if (storages.length !== program.bufferCount)
      throw new RangeError(`kernel ${kernel.name} binds ${program.bufferCount} buffers, ${storages.length} given`);
    if (this.#recording) {
      this.#recording.dispatch(program, kernel, defines, storages, params, grid);
      return;
    }
    const buffers: PooledBuffer[] = [];
    for (let i = 0; i < storages.length; i++)
      buffers.push(this.#standIns ? this.#standIn(storages[i]!).buffer : storages[i]!.buffer);
    packParams(kernel, program.params, params, this.#stream.slots, this.#stream.nextSlot());
    this.#stream.dispatch(program.pipeline, this.#programs.group(program, buffers), grid);
  }

  /** Reads `bytes` (a multiple of 4) of a storage after all work encoded so far. Rejects with the first WebGPU error or the loss of the device. */
  async read(storage: Storage, offset: number, bytes: number): Promise<ArrayBuffer> {
    this.#recording?.refuse("the function reads back, which a replay cannot: return the tensor instead");
    const staging = this.gpu.createBuffer({
      size: Math.max(bytes, 4),
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    try {
      this.#stream.copy(storage.buffer.gpu, offset, staging, 0, bytes);
      this.#stream.flush();
      await this.#wait(() => staging.mapAsync(GPUMapMode.READ));
      const copy = staging.getMappedRange().slice(0, bytes);
      staging.unmap();
      return copy;
    } finally {
      staging.destroy();
    }
  }

  /** Submits and waits until the device has done all work. */
  async sync(): Promise<void> {
    this.#recording?.refuse("the function waits for the device, which a replay cannot");
    this.#stream.flush();
    this.#written = 0;
    await this.#wait(() => this.gpu.queue.onSubmittedWorkDone());
  }

  /**
   * Awaits the queue. Where the host's event loop spins while it awaits, it is put to sleep between looks, each sleep a sixteenth of the wait
   * so far: the end is seen at most 6 % late and a core stays free. (Resting for as long as the same work took last time was tried: it
   * cannot tell that work became faster, and after one slow step it slept through half of every later one.)
   */
  async #wait(done: () => Promise<unknown>): Promise<void> {
    try {
      const promise = done();
      if (this.#rest) await this.#restUntil(promise);
      await promise;
    } catch (cause) {
      if (this.#failure) throw this.#failure;
      throw new ReflError(
        "webgpu",
        `reading back failed: ${cause instanceof Error ? cause.message : String(cause)}`,
        1,
        { cause },
      );
    }
    if (this.#failure) throw this.#failure;
  }

  async #restUntil(promise: Promise<unknown>): Promise<void> {
    let settled = false;
    const settle = (): void => {
      settled = true;
    };
    promise.then(settle, settle);
    const start = performance.now();
    while (!settled) await this.#rest!(Math.min(8, Math.max(0.25, (performance.now() - start) / 16)));
  }

  /** Runs `work` with timestamps around every dispatch and returns the kernels by time. Throws `RangeError` where the device has no timestamps. */
  async profile(work: () => unknown): Promise<KernelTime[]> {
    return kernelTimes(await this.trace(work));
  }

  /** As {@link profile}, but returns every dispatch in order: for `chromeTrace`. */
  async trace(work: () => unknown): Promise<KernelEvent[]> {
    if (!this.capabilities.timestamps) throw new RangeError("profile: this device has no timestamp-query");
    const profiler = this.#stream.startProfiling();
    try {
      await work();
      await this.sync();
      return await profiler.events();
    } finally {
      this.#stream.stopProfiling();
    }
  }

  /** Runs `fn`, which must be synchronous, with kernels chosen by `chooser`. */
  withChooser<T>(chooser: KernelChooser | null, fn: () => T): T {
    const before = this.chooser;
    this.chooser = chooser;
    try {
      return fn();
    } finally {
      this.chooser = before;
    }
  }

  /** Waits until everything that `online` tuning has begun to measure is learnt and kept. */
  async settleTuning(): Promise<void> {
    if (!this.tuner) return;
    await this.sync();
    await this.tuner.settled();
  }

  /**
   * @internal Encodes all of `works` several times, one after the other, and resolves to the milliseconds of each time after the first, which compiles. Inside a captured
   * function they run on memory of the same sizes, since there are no values yet. Null without timestamps and while profiling. Throws {@link OutOfMemoryError}.
   */
  timeEach(works: readonly (() => void)[]): Promise<number[][]> | null {
    if (!this.capabilities.timestamps || this.#stream.profiling) return null;
    const recording = this.#recording;
    this.#recording = null;
    if (recording) this.#standIns = new Map();
    const profiler = this.#stream.startProfiling();
    const counts: number[] = [];
    try {
      for (let round = 0; round <= TIMED_ROUNDS; round++)
        for (const work of works) {
          const before = this.#stream.dispatches;
          scope(work);
          counts.push(this.#stream.dispatches - before);
        }
    } finally {
      this.#stream.stopProfiling();
      for (const [storage, standIn] of this.#standIns ?? []) if (standIn !== storage) standIn.release();
      this.#standIns = null;
      this.#recording = recording;
    }
    return sumEvents(profiler.events(), counts, works.length);
  }

  /** The memory that a kernel being timed uses for `storage`: itself where it has any. */
  #standIn(storage: Storage): Storage {
    let standIn = this.#standIns!.get(storage);
    if (!standIn) {
      standIn = isPlaceholder(storage.buffer) ? this.#pool.allocate(storage.bytes, "timed kernels") : storage;
      this.#standIns!.set(storage, standIn);
    }
    return standIn;
  }

  /**
   * @internal Runs `fn` with all that it would run written down instead, and hands the memory that it still holds to the pool.
   * Throws {@link CaptureError} for what cannot be captured, another capture included.
   */
  record(label: string, fn: () => void): Recording {
    if (this.#failure) throw this.#failure;
    if (this.#recording) throw new CaptureError(label, `already inside the capture of ${this.#recording.plan}`);
    const recording = new Recording(label);
    this.#recording = recording;
    try {
      fn();
      recording.finish();
    } catch (error) {
      recording.release();
      throw error;
    } finally {
      this.#recording = null;
    }
    recording.settle((storage, bytes) => this.#pool.adopt(storage, bytes));
    return recording;
  }

  /** @internal Memory for plans. */
  createArena(): Arena {
    return new Arena(this.#pool);
  }

  /** @internal Memory for the parameters of a plan's kernels. */
  allocateUniform(bytes: ArrayBuffer, label: string): Storage {
    const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
    const storage = this.#pool.allocateExactly(bytes.byteLength, label, usage);
    this.#stream.write(storage.buffer, 0, bytes);
    return storage;
  }

  /** @internal Submits the prepared steps of a plan; `_steps` is what they were prepared from. */
  replay(prepared: readonly PreparedStep[], _steps: readonly Step[]): void {
    if (this.#failure) throw this.#failure;
    this.#recording?.refuse("the function replays another plan");
    this.#stream.replay(prepared);
  }

  /** @internal Whether a function is being captured. */
  protected get recording(): boolean {
    return this.#recording !== null;
  }

  /** @internal Calls `see` with all holders whenever more memory is in use than ever before. */
  protected watchPeak(see: (holders: readonly LabelledMemory[]) => void): void {
    this.#pool.onPeak = () => see(this.#pool.labelled());
  }

  /** Ends the device if it was made here; all its tensors are gone. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#stream.flush();
    if (this.#owned) this.gpu.destroy();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
