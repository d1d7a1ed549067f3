/** webgpu-torch: f32 products of two matrices and unpadded convolutions; the project rests since 2023. */
import { type HostArray, sizeOf, type Work } from "../work.ts";
import type { Engine, PeerHost, Program } from "./engine.ts";

interface TorchTensor {
  readonly storage: { destroy(): void };
  toArrayAsync(): Promise<unknown>;
  mm(other: TorchTensor): TorchTensor;
}

interface Torch {
  initWebGPUAsync(): Promise<boolean>;
  readonly Tensor: new (data: unknown, dtype: string, device: string) => TorchTensor;
  conv2d(x: TorchTensor, weight: TorchTensor): TorchTensor;
}

export async function startWebgpuTorch(host: PeerHost): Promise<Engine> {
  unmapTwice();
  const { torch } = (await host.load("webgpu-torch.mjs")) as { torch: Torch };
  if (!(await torch.initWebGPUAsync())) throw new Error("webgpu-torch found no WebGPU");
  const queue = host.lastDevice().queue;
  return {
    name: "webgpu-torch",
    version: host.versions["webgpu-torch"] ?? "",
    sync: () => host.settle(queue),
    prepare: async (work, inputs) => prepare(torch, work, inputs),
    dispose: () => {},
  };
}

/** It unmaps what is not mapped, which does nothing by the specification and throws in Deno. */
function unmapTwice(): void {
  const { prototype } = GPUBuffer;
  const { unmap } = prototype;
  prototype.unmap = function () {
    if (this.mapState !== "unmapped") unmap.call(this);
  };
}

/** Nested arrays, the only form from which it takes a shape. */
function nested(shape: readonly number[], data: ArrayLike<number>, start = 0): unknown {
  if (shape.length === 1) return Array.from({ length: shape[0]! }, (_, i) => data[start + i]!);
  const size = sizeOf(shape.slice(1));
  return Array.from({ length: shape[0]! }, (_, i) => nested(shape.slice(1), data, start + i * size));
}

/** Its convolution pads nothing, so the frame of zeros is part of the input. */
function padded({ shape, data }: HostArray, padding: number): HostArray {
  const [n, c, h, w] = shape as [number, number, number, number];
  const height = h + 2 * padding;
  const width = w + 2 * padding;
  const out = new Float32Array(n * c * height * width);
  for (let plane = 0; plane < n * c; plane++)
    for (let y = 0; y < h; y++)
      for (let x = 0; x < w; x++)
        out[(plane * height + y + padding) * width + x + padding] = data[(plane * h + y) * w + x]!;
  return { shape: [n, c, height, width], data: out };
}

function prepare(torch: Torch, work: Work, inputs: Record<string, HostArray>): Program | null {
  const place = ({ shape, data }: HostArray): TorchTensor => new torch.Tensor(nested(shape, data), "float32", "webgpu");
  let operands: TorchTensor[];
  let compute: () => TorchTensor;
  if (work.op === "matmul" && work.part === "forward" && work.batch === 1 && !work.transA && !work.transB) {
    operands = [place(inputs["a"]!), place(inputs["b"]!)];
    compute = () => operands[0]!.mm(operands[1]!);
  } else if (work.op === "conv" && work.part === "forward" && work.stride === 1) {
    operands = [place(padded(inputs["x"]!, work.padding)), place(inputs["w"]!)];
    compute = () => torch.conv2d(operands[0]!, operands[1]!);
  } else return null;
  return {
    run: () => compute().storage.destroy(),
    read: async () => ({ y: ((await compute().toArrayAsync()) as number[]).flat(4) }),
    dispose: () => {
      for (const x of operands) x.storage.destroy();
    },
  };
}
