/** Pipelines and bind groups: one pipeline per kernel and define set, one bind group per pipeline and buffer tuple, each made once. */
import { type Access, boundBuffers, type Defines, expand, type Kernel, paramsLayout } from "@refl/kernels-wgsl";
import type { PooledBuffer } from "./pool.ts";
import { CommandStream } from "./stream.ts";

/** A kernel made ready for one set of defines. */
export interface Program {
  readonly id: number;
  readonly kernel: Kernel;
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  readonly params: ReturnType<typeof paramsLayout>;
  readonly bufferCount: number;
  /** How each buffer is used, in binding order. */
  readonly access: readonly Access[];
}

/** Bind groups kept before the cache is emptied; a training step of a large model needs a few thousand. */
const MAX_GROUPS = 16384;

/** Bind groups by the ids of the first, second, … buffer. */
interface GroupTree {
  readonly next: Map<number, GroupTree>;
  group: GPUBindGroup | null;
}

const emptyTree = (): GroupTree => ({ next: new Map(), group: null });

export class ProgramCache {
  readonly #gpu: GPUDevice;
  readonly #params: GPUBuffer;
  readonly #log: ((line: string) => void) | null;
  readonly #byKey = new Map<Kernel, Map<string, Program>>();
  /** Programs of defines that are one frozen object for all calls. */
  readonly #byDefines = new Map<Kernel, Map<Defines, Program>>();
  readonly #layouts = new Map<string, { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>();
  readonly #groups: GroupTree[] = [];
  #groupCount = 0;
  #count = 0;
  #seconds = 0;

  /** `log` is told of every pipeline that is made. */
  constructor(gpu: GPUDevice, params: GPUBuffer, log: ((line: string) => void) | null) {
    this.#gpu = gpu;
    this.#log = log;
    this.#params = params;
  }

  /** Number of distinct pipelines made so far. */
  get size(): number {
    return this.#count;
  }

  /** Wall seconds that the host spent on making them. */
  get seconds(): number {
    return this.#seconds;
  }

  program(kernel: Kernel, defines: Defines): Program {
    let known = this.#byDefines.get(kernel);
    const found = known?.get(defines);
    if (found) return found;
    const program = this.#byText(kernel, defines);
    if (Object.isFrozen(defines)) {
      if (!known) this.#byDefines.set(kernel, (known = new Map()));
      known.set(defines, program);
    }
    return program;
  }

  #byText(kernel: Kernel, defines: Defines): Program {
    let variants = this.#byKey.get(kernel);
    if (!variants) this.#byKey.set(kernel, (variants = new Map()));
    let key = "";
    for (const name in defines) if (name !== "MATH" && name !== "EXPR") key += `${name}=${defines[name]};`;
    let program = variants.get(key);
    if (!program) variants.set(key, (program = this.#compile(kernel, defines)));
    return program;
  }

  #compile(kernel: Kernel, defines: Defines): Program {
    const start = performance.now();
    const program = this.#make(kernel, defines);
    this.#seconds += (performance.now() - start) / 1000;
    return program;
  }

  #make(kernel: Kernel, defines: Defines): Program {
    const start = performance.now();
    const buffers = boundBuffers(kernel, defines);
    const layout = this.#layout(buffers.map(([, access]) => access));
    const module = this.#gpu.createShaderModule({ label: kernel.name, code: expand(kernel, defines) });
    const op = defines["OP"];
    const pipeline = this.#gpu.createComputePipeline({
      label: op === undefined ? kernel.name : `${kernel.name} ${op}`,
      layout: layout.pipeline,
      compute: { module, entryPoint: "main" },
    });
    this.#log?.(`pipeline ${this.#count}: ${pipeline.label}, ${(performance.now() - start).toFixed(1)} ms`);
    return {
      id: this.#count++,
      kernel,
      pipeline,
      layout: layout.group,
      params: paramsLayout(kernel.params),
      bufferCount: buffers.length,
      access: buffers.map(([, access]) => access),
    };
  }

  #layout(access: readonly string[]): { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout } {
    const key = access.join();
    let made = this.#layouts.get(key);
    if (!made) {
      const entries: GPUBindGroupLayoutEntry[] = access.map((a, binding) => ({
        binding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: a === "read" ? "read-only-storage" : "storage" },
      }));
      entries.push({
        binding: access.length,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: "uniform", hasDynamicOffset: true },
      });
      const group = this.#gpu.createBindGroupLayout({ entries });
      made = { group, pipeline: this.#gpu.createPipelineLayout({ bindGroupLayouts: [group] }) };
      this.#layouts.set(key, made);
    }
    return made;
  }

  group(program: Program, buffers: readonly PooledBuffer[]): GPUBindGroup {
    let tree = (this.#groups[program.id] ??= emptyTree());
    for (let i = 0; i < buffers.length; i++) {
      const { id } = buffers[i]!;
      let next = tree.next.get(id);
      if (!next) tree.next.set(id, (next = emptyTree()));
      tree = next;
    }
    if (tree.group) return tree.group;
    if (this.#groupCount++ >= MAX_GROUPS) {
      this.dropGroups();
      return this.group(program, buffers);
    }
    const entries: GPUBindGroupEntry[] = buffers.map((buffer, binding) => ({
      binding,
      resource: { buffer: buffer.gpu },
    }));
    entries.push({ binding: buffers.length, resource: { buffer: this.#params, size: CommandStream.slotBytes } });
    tree.group = this.#gpu.createBindGroup({ layout: program.layout, entries });
    return tree.group;
  }

  /** Forgets all bind groups: before buffers are destroyed. */
  dropGroups(): void {
    this.#groups.length = 0;
    this.#groupCount = 0;
  }
}
