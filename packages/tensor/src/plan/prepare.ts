/** From recorded steps to what the command stream encodes: memory, parameters and bind groups, each made once. */
import type { Device } from "../device.ts";
import type { Storage } from "../pool.ts";
import { CommandStream, type PreparedStep } from "../stream.ts";
import { type Arena, type Interval, type Layout, planLayout } from "./arena.ts";
import { type Binding, packedParams, type Step, usesOf, type Value } from "./record.ts";

/** The values that live only between steps, and where the arena keeps them. */
export interface Placement {
  readonly layout: Layout;
  /** Position in the layout by value. */
  readonly positions: ReadonlyMap<Value, number>;
}

/** Plans the memory of the values that nothing outside of the steps holds. */
export function placeValues(steps: readonly Step[]): Placement {
  const positions = new Map<Value, number>();
  const intervals: { bytes: number; first: number; last: number; apart: Set<number> }[] = [];
  for (const [at, step] of steps.entries()) {
    const inner: { position: number; written: boolean }[] = [];
    for (const { value, written } of usesOf(step)) {
      if (value.storage) continue;
      let position = positions.get(value);
      if (position === undefined) {
        position = intervals.length;
        positions.set(value, position);
        intervals.push({ bytes: value.bytes, first: at, last: at, apart: new Set() });
      }
      intervals[position]!.last = at;
      inner.push({ position, written });
    }
    for (const a of inner) {
      for (const b of inner) {
        if (a.position !== b.position && (a.written || b.written)) intervals[a.position]!.apart.add(b.position);
      }
    }
  }
  return { layout: planLayout(intervals as readonly Interval[]), positions };
}

/** The parameter blocks of all dispatches, equal ones once, in one uniform buffer. */
export interface ParameterTable {
  readonly storage: Storage;
  /** Byte offset by step; undefined for copies. */
  readonly offsets: readonly (number | undefined)[];
}

/** Packs and uploads the parameters of `steps`. */
export function uploadParameters(device: Device, steps: readonly Step[]): ParameterTable {
  const slot = CommandStream.slotBytes;
  const found = new Map<string, number>();
  const blocks: Uint8Array[] = [];
  const offsets = steps.map((step) => {
    if (step.kind === "copy") return undefined;
    const block = packedParams(step);
    const key = block.join();
    let offset = found.get(key);
    if (offset === undefined) {
      offset = blocks.length * slot;
      found.set(key, offset);
      blocks.push(block);
    }
    return offset;
  });
  const bytes = new Uint8Array(Math.max(1, blocks.length) * slot);
  for (const [i, block] of blocks.entries()) bytes.set(block, i * slot);
  return { storage: device.allocateUniform(bytes.buffer, "plan parameters"), offsets };
}

/** Makes the bind groups of `steps` over the buffers that the arena has now. */
export function prepareSteps(
  gpu: GPUDevice,
  steps: readonly Step[],
  { layout, positions }: Placement,
  arena: Arena,
  parameters: ParameterTable,
): PreparedStep[] {
  const home = (value: Value): { buffer: GPUBuffer; offset: number; bytes: number } => {
    if (value.storage) return { buffer: value.storage.buffer.gpu, offset: 0, bytes: value.storage.bytes };
    const { buffer, offset } = layout.places[positions.get(value)!]!;
    return { buffer: arena.buffer(buffer), offset, bytes: Math.ceil(Math.max(value.bytes, 1) / 256) * 256 };
  };
  const resource = ({ value, offset, bytes }: Binding): GPUBufferBinding => {
    const { buffer, offset: base, bytes: whole } = home(value);
    return { buffer, offset: base + offset, size: bytes || whole - offset };
  };
  const uniform = parameters.storage.buffer.gpu;
  const groups = new Map<string, GPUBindGroup>();
  return steps.map((step, i): PreparedStep => {
    if (step.kind === "copy") {
      const from = home(step.from);
      const to = home(step.to);
      return {
        pipeline: null,
        from: from.buffer,
        fromOffset: from.offset + step.fromOffset,
        to: to.buffer,
        toOffset: to.offset + step.toOffset,
        bytes: step.bytes,
      };
    }
    const { program, bindings, grid } = step;
    const key = `${program.id}|${bindings.map(({ value, offset, bytes }) => `${value.index}:${offset}:${bytes}`)}`;
    let group = groups.get(key);
    if (!group) {
      const entries: GPUBindGroupEntry[] = bindings.map((binding, at) => ({
        binding: at,
        resource: resource(binding),
      }));
      entries.push({ binding: bindings.length, resource: { buffer: uniform, size: CommandStream.slotBytes } });
      group = gpu.createBindGroup({ layout: program.layout, entries });
      groups.set(key, group);
    }
    const [x, y, z] = grid;
    return { pipeline: program.pipeline, group, offsets: [parameters.offsets[i]!], x, y, z };
  });
}
