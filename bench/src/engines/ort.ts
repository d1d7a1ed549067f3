/** ONNX Runtime Web's WebGPU execution provider: static graphs of fixed shapes, inputs and outputs on the device; it has no gradients. */
import { type HostArray, outputShapes, type Work } from "../work.ts";
import type { Engine, PeerHost, Program } from "./engine.ts";
import { encodeModel, type Initializer, type OnnxNode } from "./onnx.ts";

interface OrtTensor {
  getData(): Promise<ArrayLike<number>>;
  dispose(): void;
}

interface Session {
  run(feeds: Record<string, OrtTensor>): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}

interface Ort {
  readonly env: { readonly wasm: { wasmBinary?: ArrayBuffer; numThreads?: number }; logLevel?: string };
  readonly Tensor: {
    fromGpuBuffer(buffer: GPUBuffer, options: { dataType: "float32" | "int32"; dims: readonly number[] }): OrtTensor;
  };
  readonly InferenceSession: { create(model: Uint8Array, options: Record<string, unknown>): Promise<Session> };
}

export async function startOrt(host: PeerHost): Promise<Engine> {
  const device = await host.device();
  copySharedViews();
  const ort = (await host.load("ort.webgpu.bundle.min.mjs")) as Ort;
  ort.env.wasm.wasmBinary = await host.bytes("ort-wasm-simd-threaded.asyncify.wasm");
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  return {
    name: "ort-web",
    version: host.versions["onnxruntime-web"] ?? "",
    sync: () => host.settle(device.queue),
    prepare: (work, inputs) => prepare(ort, device, work, inputs),
    dispose: () => {},
  };
}

/** Dawn in Node refuses views of shared memory, in which ONNX Runtime's heap lies: they are copied first. */
function copySharedViews(): void {
  const { prototype } = GPUQueue;
  const write = prototype.writeBuffer;
  prototype.writeBuffer = function (buffer, offset, data, start, size) {
    const shared = ArrayBuffer.isView(data) && !(data.buffer instanceof ArrayBuffer);
    if (!shared) return write.call(this, buffer, offset, data as ArrayBuffer, start, size);
    const bytes = data as Uint8Array;
    const from = bytes.byteOffset + (start ?? 0) * (bytes.BYTES_PER_ELEMENT ?? 1);
    const length = size === undefined ? bytes.byteLength : size * (bytes.BYTES_PER_ELEMENT ?? 1);
    return write.call(this, buffer, offset, new Uint8Array(bytes.buffer.slice(from, from + length)).slice());
  };
}

interface Graph {
  readonly nodes: readonly OnnxNode[];
  readonly initializers?: Record<string, Initializer>;
  /** Inputs that the graph wants in another form than the canonical one. */
  readonly reorder?: (array: HostArray) => HostArray;
  /** And its output back. */
  readonly restore?: (data: ArrayLike<number>) => ArrayLike<number>;
  /** Shape of `y` where it is not the canonical one. */
  readonly shape?: readonly number[];
}

async function prepare(
  ort: Ort,
  device: GPUDevice,
  work: Work,
  inputs: Record<string, HostArray>,
): Promise<Program | null> {
  const graph = build(work, lanesOf(device));
  if (!graph) return null;
  const { nodes, initializers = {}, reorder, restore, shape } = graph;
  const buffers: GPUBuffer[] = [];
  const feeds: Record<string, OrtTensor> = {};
  const types: Record<string, { shape: readonly number[]; type: "float" | "int32" }> = {};
  for (const [name, array] of Object.entries(inputs)) {
    const placed = reorder?.(array) ?? array;
    const buffer = device.createBuffer({
      size: Math.ceil(placed.data.byteLength / 16) * 16,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC,
    });
    device.queue.writeBuffer(buffer, 0, placed.data as Float32Array<ArrayBuffer>);
    buffers.push(buffer);
    const ints = placed.data instanceof Int32Array;
    feeds[name] = ort.Tensor.fromGpuBuffer(buffer, { dataType: ints ? "int32" : "float32", dims: placed.shape });
    types[name] = { shape: placed.shape, type: ints ? "int32" : "float" };
  }
  const model = encodeModel({
    nodes,
    inputs: types,
    outputs: { y: { shape: shape ?? outputShapes(work)["y"]!, type: "float" } },
    initializers,
  });
  const session = await ort.InferenceSession.create(model, {
    executionProviders: [{ name: "webgpu", device }],
    // All inputs are fed, so there is nothing to fold; fusions stay on.
    graphOptimizationLevel: "all",
    preferredOutputLocation: "gpu-buffer",
  });
  return {
    run: async () => {
      const { y } = await session.run(feeds);
      y!.dispose();
    },
    read: async () => {
      const { y } = await session.run(feeds);
      const data = await y!.getData();
      y!.dispose();
      return { y: restore?.(data) ?? data };
    },
    dispose: async () => {
      await session.release();
      for (const buffer of buffers) buffer.destroy();
    },
  };
}

const node = (
  op: string,
  inputs: readonly string[],
  output: string,
  attributes: OnnxNode["attributes"] = {},
  domain = "",
): OnnxNode => ({ op, inputs, outputs: [output], attributes, domain });

/** The most lanes that a subgroup of the device has; 0 without subgroups. */
function lanesOf(device: GPUDevice): number {
  const info = device.adapterInfo as { subgroupMaxSize?: number } | undefined;
  return device.features.has("subgroups") ? (info?.subgroupMaxSize ?? 0) : 0;
}

/** `lanes` is the size of the device's subgroups. */
export function build(work: Work, lanes: number): Graph | null {
  if (work.part !== "forward") return null;
  switch (work.op) {
    case "matmul": {
      const { transA, transB } = work;
      if (!transA && !transB) return { nodes: [node("MatMul", ["a", "b"], "y")] };
      if (work.batch > 1) return null;
      return { nodes: [node("Gemm", ["a", "b"], "y", { transA: Number(transA ?? 0), transB: Number(transB ?? 0) })] };
    }
    case "conv": {
      const { k, stride, padding } = work;
      const attributes = {
        kernel_shape: [k, k],
        strides: [stride, stride],
        pads: [padding, padding, padding, padding],
      };
      return { nodes: [node("Conv", ["x", "w"], "y", attributes)] };
    }
    case "softmax":
      return { nodes: [node("Softmax", ["x"], "y", { axis: -1 })] };
    case "layerNorm":
      return {
        nodes: [node("LayerNormalization", ["x", "weight", "bias"], "y", { axis: -1, epsilon: { float: 1e-5 } })],
      };
    case "groupNorm":
      return groupNorm(work);
    case "gelu":
      return { nodes: [node("Gelu", ["x"], "y", {}, "com.microsoft")] };
    case "attention":
      // Its fused attention is wrong by 3 % (lavapipe, 8 lanes) to 80 % (SwiftShader, 4 lanes) of the largest value where subgroups are small.
      return lanes < 16 ? composedAttention(work) : attention(work);
    case "embedding":
      return { nodes: [node("Gather", ["table", "ids"], "y", { axis: 0 })] };
    case "bicubic":
    case "upsample": {
      const { n, c } = work;
      const size = work.op === "bicubic" ? work.size : 2 * work.h;
      const attributes =
        work.op === "bicubic"
          ? { mode: "cubic", cubic_coeff_a: { float: -0.75 }, coordinate_transformation_mode: "half_pixel" }
          : { mode: "nearest", nearest_mode: "floor", coordinate_transformation_mode: "asymmetric" };
      return {
        nodes: [node("Resize", ["x", "", "", "sizes"], "y", attributes)],
        initializers: { sizes: { type: "int64", shape: [4], values: [n, c, size, size] } },
      };
    }
    case "sum": {
      if (work.axis === "all") return { nodes: [node("ReduceSum", ["x"], "y", { keepdims: 0 })] };
      return {
        nodes: [node("ReduceSum", ["x", "axes"], "y", { keepdims: 0 })],
        initializers: { axes: { type: "int64", shape: [1], values: [work.axis] } },
      };
    }
    default:
      return null;
  }
}

/** Instance normalisation over the groups, then weight, bias and SiLU: the provider has no kernel of its own for it. */
function groupNorm({ n, c, h, groups, silu }: Work & { op: "groupNorm" }): Graph {
  const ints = (values: readonly number[]): Initializer => ({ type: "int64", shape: [values.length], values });
  const affine = (value: number): Initializer => ({
    type: "float",
    shape: [groups],
    values: new Array<number>(groups).fill(value),
  });
  const last = silu ? "affine" : "y";
  return {
    nodes: [
      node("Reshape", ["x", "grouped"], "g"),
      node("InstanceNormalization", ["g", "one", "zero"], "normed", { epsilon: { float: 1e-5 } }),
      node("Reshape", ["normed", "whole"], "flat"),
      node("Reshape", ["weight", "channels"], "scale"),
      node("Reshape", ["bias", "channels"], "shift"),
      node("Mul", ["flat", "scale"], "scaled"),
      node("Add", ["scaled", "shift"], last),
      ...(silu ? [node("Sigmoid", [last], "gate"), node("Mul", [last, "gate"], "y")] : []),
    ],
    initializers: {
      grouped: ints([n, groups, (c / groups) * h * h]),
      whole: ints([n, c, h, h]),
      channels: ints([1, c, 1, 1]),
      one: affine(1),
      zero: affine(0),
    },
  };
}

/** Two products and a softmax. */
function composedAttention({ size }: Work & { op: "attention" }): Graph {
  return {
    nodes: [
      node("Transpose", ["k"], "turned", { perm: [0, 1, 3, 2] }),
      node("Mul", ["q", "scale"], "scaled"),
      node("MatMul", ["scaled", "turned"], "scores"),
      node("Softmax", ["scores"], "weights", { axis: -1 }),
      node("MatMul", ["weights", "v"], "y"),
    ],
    initializers: { scale: { type: "float", shape: [1], values: [1 / Math.sqrt(size)] } },
  };
}

/** Its fused attention, which wants [batch, tokens, heads · size]. */
function attention({ heads, tokens, size }: Work & { op: "attention" }): Graph {
  const swap = (data: ArrayLike<number>, back: boolean): Float32Array => {
    const out = new Float32Array(data.length);
    for (let h = 0; h < heads; h++)
      for (let t = 0; t < tokens; t++)
        for (let d = 0; d < size; d++) {
          const split = (h * tokens + t) * size + d;
          const joined = (t * heads + h) * size + d;
          out[back ? split : joined] = data[back ? joined : split]!;
        }
    return out;
  };
  const shape = [1, tokens, heads * size];
  return {
    nodes: [node("MultiHeadAttention", ["q", "k", "v"], "y", { num_heads: heads }, "com.microsoft")],
    reorder: ({ data }) => ({ shape, data: swap(data, false) }),
    restore: (data) => swap(data, true),
    shape,
  };
}
