/** A device that runs nothing and holds no memory: what work would do on an adapter, counted before there is anything to do it on. */
import { type Defines, flopsOf, type Kernel, type ParamValues } from "@refl/kernels-wgsl";
import { Device } from "./device.ts";
import type { Step } from "./plan/record.ts";
import type { LabelledMemory, Storage } from "./pool.ts";
import type { PreparedStep } from "./stream.ts";

/** A kernel with all that decides how long it takes; `kernel` is null for a copy between buffers. */
export interface KernelUse {
  readonly kernel: Kernel | null;
  readonly defines: Defines;
  /** Of one of the dispatches; offsets may differ between them. */
  readonly params: ParamValues;
  readonly grid: readonly [number, number, number];
  /** Bytes of what it binds, in order, of the same dispatch. */
  readonly operands: readonly number[];
  /** Of a product: what kind, and its multiplications and additions. */
  readonly family: ProductFamily;
  readonly flops: number;
  /** Of all other kernels: bytes read and written, as far as operands tell; of a packed one as much as the others have. */
  readonly bytes: number;
}

/** Convolutions, attention, and all other matrix products. */
export type ProductFamily = "matmul" | "conv" | "attention";

/** What was run: how often each kernel. */
export type Work = ReadonlyMap<KernelUse, number>;

/** Work added up. */
export interface WorkTotals {
  readonly dispatches: number;
  readonly flops: Readonly<Record<ProductFamily, number>>;
  readonly bytes: number;
}

/** a and then b. */
export function addWork(a: Work, b: Work): Work {
  const sum = new Map(a);
  for (const [use, count] of b) sum.set(use, (sum.get(use) ?? 0) + count);
  return sum;
}

/** What `later` has beyond `earlier`. */
export function workBetween(earlier: Work, later: Work): Work {
  const between = new Map<KernelUse, number>();
  for (const [use, count] of later) {
    const more = count - (earlier.get(use) ?? 0);
    if (more > 0) between.set(use, more);
  }
  return between;
}

export function workTotals(work: Work): WorkTotals {
  let dispatches = 0;
  let moved = 0;
  const flops = { matmul: 0, conv: 0, attention: 0 };
  for (const [{ family, flops: each, bytes }, count] of work) {
    dispatches += count;
    moved += count * bytes;
    flops[family] += count * each;
  }
  return { dispatches, flops, bytes: moved };
}

/** All multiplications and additions of products. */
export function totalFlops(work: Work): number {
  const { matmul, conv, attention } = workTotals(work).flops;
  return matmul + conv + attention;
}

interface Operand {
  readonly bytes: number;
  /** Memory from before, which may be a packed slab of which a kernel uses only a part. */
  readonly outside: boolean;
}

/** Bytes that a kernel moves: its own operands whole, packed ones at most as much as the largest of its own. */
function movedBytes(operands: readonly Operand[]): number {
  const most = Math.max(0, ...operands.filter(({ outside }) => !outside).map(({ bytes }) => bytes));
  return operands.reduce((sum, { bytes, outside }) => sum + (outside && most ? Math.min(bytes, most) : bytes), 0);
}

/** Parameters that say where operands lie in their buffers, which takes no time. */
const PLACE = /^(?:offset|at[A-Z])/;

/** Counts dispatches by what decides how long they take. */
class WorkCounter {
  readonly #uses = new Map<string, KernelUse>();
  readonly #counts = new Map<KernelUse, number>();

  get work(): Work {
    return new Map(this.#counts);
  }

  add(use: KernelUse, count: number): void {
    this.#counts.set(use, (this.#counts.get(use) ?? 0) + count);
  }

  dispatch(
    kernel: Kernel,
    dispatch: Pick<KernelUse, "defines" | "params" | "grid">,
    operands: readonly Operand[],
  ): KernelUse {
    const { defines, params, grid } = dispatch;
    const sizes = Object.keys(kernel.params).map((name) => (PLACE.test(name) ? "" : String(params[name])));
    const variant = Object.entries(defines).map(([name, value]) => `${name}=${value}`);
    const key = `${kernel.name}|${variant}|${sizes}|${grid}|${operands.map((o) => (o.outside ? "" : o.bytes))}`;
    let use = this.#uses.get(key);
    if (!use) {
      const flops = flopsOf(kernel.name, dispatch);
      const family = kernel.name.startsWith("conv") ? "conv" : kernel.name.startsWith("att") ? "attention" : "matmul";
      const bytes = flops ? 0 : movedBytes(operands);
      use = { kernel, defines, params, grid, operands: operands.map((o) => o.bytes), family, flops, bytes };
      this.#uses.set(key, use);
    }
    return use;
  }

  copy(bytes: number): KernelUse {
    const key = `copy|${bytes}`;
    let use = this.#uses.get(key);
    if (!use) {
      use = { ...COPY, operands: [bytes, bytes], bytes: 2 * bytes };
      this.#uses.set(key, use);
    }
    return use;
  }

  /** What the steps of a plan are. */
  plan(steps: readonly Step[]): Work {
    const counts = new Map<KernelUse, number>();
    for (const step of steps) {
      const use =
        step.kind === "copy"
          ? this.copy(step.bytes)
          : this.dispatch(
              step.kernel,
              step,
              step.bindings.map(({ value, offset, bytes }) => ({
                bytes: bytes || value.bytes - offset,
                outside: value.outside,
              })),
            );
      counts.set(use, (counts.get(use) ?? 0) + 1);
    }
    return counts;
  }
}

const COPY: Omit<KernelUse, "operands" | "bytes"> = {
  kernel: null,
  defines: {},
  params: {},
  grid: [1, 1, 1],
  family: "matmul",
  flops: 0,
};

/**
 * Takes the same decisions as the device that it was made like (limits, subgroups, f16) and counts memory to the byte, but nothing is computed or stored: whatever is read
 * back is 1. So the code of a training runs unchanged and tells what it needs: `memory().peak`, {@link atPeak}, {@link work}, {@link largest}.
 */
export class DryDevice extends Device {
  readonly #plans = new WeakMap<readonly Step[], Work>();
  readonly #counter = new WorkCounter();
  #largest: { readonly label: string; readonly bytes: number } = { label: "", bytes: 0 };
  #atPeak: readonly LabelledMemory[] = [];

  constructor(like: Device) {
    const { description, ...identity } = like.adapter;
    const lanes = like.capabilities.subgroupSize;
    const info = { ...identity, description, subgroupMinSize: lanes, subgroupMaxSize: lanes };
    const gpu = paperDevice(like);
    super(
      gpu,
      { ...info, isFallbackAdapter: like.adapter.software } as unknown as GPUAdapterInfo,
      { largestBinding: like.largestBinding },
      null,
      true,
    );
    this.tuner = like.tuner?.frozen() ?? null;
    this.chooser = this.tuner;
    this.watchPeak((holders) => {
      this.#atPeak = holders;
    });
  }

  /** All that was run so far. */
  get work(): Work {
    return this.#counter.work;
  }

  /** The largest tensor so far, in bytes: what has to fit the adapter's largest binding. */
  get largest(): { readonly label: string; readonly bytes: number } {
    return this.#largest;
  }

  /** Who held the memory when it was most, by label. */
  get atPeak(): readonly LabelledMemory[] {
    return this.#atPeak;
  }

  override allocate(bytes: number, label: string): Storage {
    if (bytes > this.#largest.bytes) this.#largest = { label, bytes };
    return super.allocate(bytes, label);
  }

  override run(
    kernel: Kernel,
    defines: Defines,
    storages: readonly Storage[],
    params: ParamValues,
    grid: readonly [number, number, number],
  ): void {
    super.run(kernel, defines, storages, params, grid);
    if (this.recording) return;
    const operands = storages.map(({ bytes, label }) => ({ bytes, outside: label !== "tensor" }));
    this.#counter.add(this.#counter.dispatch(kernel, { defines, params, grid }, operands), 1);
  }

  override replay(_prepared: readonly PreparedStep[], steps: readonly Step[]): void {
    let work = this.#plans.get(steps);
    if (!work) this.#plans.set(steps, (work = this.#counter.plan(steps)));
    for (const [use, count] of work) this.#counter.add(use, count);
  }
}

/** A WebGPU device on paper: it takes every command and forgets it, and mapped buffers hold ones. */
function paperDevice({ gpu, capabilities }: Device): GPUDevice {
  const features = new Set<string>();
  if (capabilities.f16) features.add("shader-f16");
  if (capabilities.subgroupSize) features.add("subgroups");
  const nothing = (): void => {};
  const soon = async (): Promise<void> => {};
  const pass = { setPipeline: nothing, setBindGroup: nothing, dispatchWorkgroups: nothing, end: nothing };
  const encoder = { beginComputePass: () => pass, copyBufferToBuffer: nothing, finish: () => ({}) };
  const queue = { submit: nothing, writeBuffer: nothing, onSubmittedWorkDone: soon };
  const createBuffer = ({ size }: GPUBufferDescriptor) => ({
    size,
    destroy: nothing,
    mapAsync: soon,
    getMappedRange: () => new Float32Array(size / 4).fill(1).buffer,
    unmap: nothing,
  });
  const paper = {
    features,
    limits: gpu.limits,
    lost: new Promise(nothing),
    queue,
    addEventListener: nothing,
    destroy: nothing,
    createBuffer,
    createCommandEncoder: () => encoder,
    createShaderModule: () => ({}),
    createComputePipeline: ({ label }: GPUComputePipelineDescriptor) => ({ label }),
    createBindGroupLayout: () => ({}),
    createPipelineLayout: () => ({}),
    createBindGroup: () => ({}),
  };
  return paper as unknown as GPUDevice;
}
