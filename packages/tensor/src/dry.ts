/** A device that runs nothing and holds no memory: what work would do on an adapter, counted before there is anything to do it on. */
import { type Defines, flopsOf, type Kernel, type ParamValues } from "@refl/kernels-wgsl";
import { Device } from "./device.ts";
import type { Step } from "./plan/record.ts";
import type { LabelledMemory, Storage } from "./pool.ts";
import type { PreparedStep } from "./stream.ts";

/** What was run. */
export interface Work {
  readonly dispatches: number;
  /** Bytes that kernels without products read and write, as far as their operands tell: of a packed operand as much as the others have. */
  readonly bytes: number;
  /** Multiplications and additions of products by family: convolutions, attention, and all other matrix products. */
  readonly flops: { readonly matmul: number; readonly conv: number; readonly attention: number };
}

export const noWork: Work = { dispatches: 0, bytes: 0, flops: { matmul: 0, conv: 0, attention: 0 } };

function combined(a: Work, b: Work, sign: 1 | -1): Work {
  const { matmul, conv, attention } = b.flops;
  return {
    dispatches: a.dispatches + sign * b.dispatches,
    bytes: a.bytes + sign * b.bytes,
    flops: {
      matmul: a.flops.matmul + sign * matmul,
      conv: a.flops.conv + sign * conv,
      attention: a.flops.attention + sign * attention,
    },
  };
}

/** a and then b. */
export const addWork = (a: Work, b: Work): Work => combined(a, b, 1);

/** What `later` has beyond `earlier`. */
export const workBetween = (earlier: Work, later: Work): Work => combined(later, earlier, -1);

/** All multiplications and additions of products. */
export const totalFlops = ({ flops }: Work): number => flops.matmul + flops.conv + flops.attention;

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

function kernelWork(
  name: string,
  dispatch: {
    readonly params: ParamValues;
    readonly defines: Defines;
    readonly grid: readonly [number, number, number];
  },
  operands: readonly Operand[],
): Work {
  const flops = flopsOf(name, dispatch);
  const family = name.startsWith("conv") ? "conv" : name.startsWith("attention") ? "attention" : "matmul";
  return { dispatches: 1, bytes: flops ? 0 : movedBytes(operands), flops: { ...noWork.flops, [family]: flops } };
}

function planWork(steps: readonly Step[]): Work {
  return steps.reduce<Work>((sum, step) => {
    if (step.kind === "copy") return addWork(sum, { ...noWork, dispatches: 1, bytes: 2 * step.bytes });
    const operands = step.bindings.map(({ value, offset, bytes }) => ({
      bytes: bytes || value.bytes - offset,
      outside: value.outside,
    }));
    return addWork(sum, kernelWork(step.kernel.name, step, operands));
  }, noWork);
}

/**
 * Takes the same decisions as the device that it was made like (limits, subgroups, f16) and counts memory to the byte, but nothing is computed or stored: whatever is read
 * back is 1. So the code of a training runs unchanged and tells what it needs: `memory().peak`, {@link atPeak}, {@link work}, {@link largest}.
 */
export class DryDevice extends Device {
  readonly #plans = new WeakMap<readonly Step[], Work>();
  #work = noWork;
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
    this.watchPeak((holders) => {
      this.#atPeak = holders;
    });
  }

  /** All that was run so far. */
  get work(): Work {
    return this.#work;
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
    this.#work = addWork(this.#work, kernelWork(kernel.name, { params, defines, grid }, operands));
  }

  override replay(_prepared: readonly PreparedStep[], steps: readonly Step[]): void {
    let work = this.#plans.get(steps);
    if (!work) this.#plans.set(steps, (work = planWork(steps)));
    this.#work = addWork(this.#work, work);
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
