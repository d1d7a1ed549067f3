/** TensorFlow.js on its WebGPU backend: NHWC throughout, products and convolutions by their gradient kernels, the rest by `grads`. */
import { ADAMW, MLP_STEPS } from "../reference/reference.ts";
import type { ConvWork, HostArray, Work } from "../work.ts";
import type { Engine, PeerHost, Program } from "./engine.ts";

interface TfTensor {
  readonly shape: readonly number[];
  data(): Promise<ArrayLike<number>>;
  dispose(): void;
}

interface Backend {
  readonly queue: GPUQueue;
  /** What is encoded and not submitted yet. */
  readonly commandEncoder: GPUCommandEncoder | null;
  endComputePassEncoder(): void;
  submitQueue(): void;
}

type TfFunction = (...xs: TfTensor[]) => TfTensor;

interface Tf {
  env(): { set(flag: string, value: boolean): void };
  setBackend(name: string): Promise<boolean>;
  ready(): Promise<void>;
  backend(): Backend;
  engine(): {
    runKernel(name: string, inputs: Record<string, TfTensor>, attrs: Record<string, unknown>): TfTensor;
  };
  tidy<T>(f: () => T): T;
  keep(x: TfTensor): TfTensor;
  tensor(data: Float32Array | Int32Array, shape: readonly number[], dtype?: "float32" | "int32"): TfTensor;
  zerosLike(x: TfTensor): TfTensor;
  valueAndGrads(f: TfFunction): (xs: TfTensor[], dy?: TfTensor) => { value: TfTensor; grads: TfTensor[] };
  variable(x: TfTensor): TfTensor;
  readonly train: { adam(rate: number): { minimize(f: () => TfTensor, returnCost: boolean): TfTensor } };
  readonly losses: { softmaxCrossEntropy(labels: TfTensor, logits: TfTensor): TfTensor };
  matMul(a: TfTensor, b: TfTensor, transA?: boolean, transB?: boolean): TfTensor;
  conv2d(x: TfTensor, w: TfTensor, strides: number, padding: number | "same"): TfTensor;
  softmax(x: TfTensor): TfTensor;
  moments(x: TfTensor, axes: readonly number[], keepDims: boolean): { mean: TfTensor; variance: TfTensor };
  add(a: TfTensor, b: TfTensor | number): TfTensor;
  sub(a: TfTensor, b: TfTensor): TfTensor;
  mul(a: TfTensor, b: TfTensor | number): TfTensor;
  div(a: TfTensor, b: TfTensor): TfTensor;
  sqrt(x: TfTensor): TfTensor;
  rsqrt(x: TfTensor): TfTensor;
  square(x: TfTensor): TfTensor;
  erf(x: TfTensor): TfTensor;
  sigmoid(x: TfTensor): TfTensor;
  relu(x: TfTensor): TfTensor;
  oneHot(x: TfTensor, classes: number): TfTensor;
  gather(x: TfTensor, ids: TfTensor): TfTensor;
  sum(x: TfTensor, axis?: number): TfTensor;
  reshape(x: TfTensor, shape: readonly number[]): TfTensor;
  transpose(x: TfTensor, axes: readonly number[]): TfTensor;
  split(x: TfTensor, parts: number, axis: number): TfTensor[];
  readonly image: { resizeNearestNeighbor(x: TfTensor, size: [number, number]): TfTensor };
}

const NCHW_TO_NHWC = [0, 2, 3, 1];
const NHWC_TO_NCHW = [0, 3, 1, 2];
const OIHW_TO_HWIO = [2, 3, 1, 0];
const HWIO_TO_OIHW = [3, 2, 0, 1];

export async function startTfjs(host: PeerHost): Promise<Engine> {
  const tf = (await host.load("tfjs.mjs")) as Tf;
  // Small tensors would silently be computed by the CPU.
  tf.env().set("WEBGPU_CPU_FORWARD", false);
  if (!(await tf.setBackend("webgpu"))) throw new Error("TensorFlow.js found no WebGPU");
  await tf.ready();
  const backend = tf.backend();
  return {
    name: "tfjs",
    version: host.versions["@tensorflow/tfjs-core"] ?? "",
    sync: () => {
      if (backend.commandEncoder) {
        backend.endComputePassEncoder();
        backend.submitQueue();
      }
      return host.settle(backend.queue);
    },
    prepare: async (work, inputs) => prepare(tf, work, inputs),
    dispose: () => {},
  };
}

/** Whether an input or output of this name lies in channels-last order here, and how it gets there. */
function layout(work: Work, name: string): { there: readonly number[]; back: readonly number[] } | null {
  if (!["conv", "upsample", "unetBlock"].includes(work.op)) return null;
  if (/^d?w\d?$/.test(name)) return { there: OIHW_TO_HWIO, back: HWIO_TO_OIHW };
  return /^(x|y|dx|dy)$/.test(name) ? { there: NCHW_TO_NHWC, back: NHWC_TO_NCHW } : null;
}

function prepare(tf: Tf, work: Work, inputs: Record<string, HostArray>): Program | null {
  const placed: Record<string, TfTensor> = {};
  for (const [name, { data, shape }] of Object.entries(inputs)) {
    const dense = tf.tensor(data, shape, data instanceof Int32Array ? "int32" : "float32");
    const order = layout(work, name);
    placed[name] = order ? tf.transpose(dense, order.there) : dense;
    if (order) dense.dispose();
  }
  if (work.op === "mlp") return mlp(tf, work, placed);
  if (work.op === "adamw") return adamw(tf, placed);
  const compute = build(tf, work, placed);
  if (!compute) return null;
  return {
    run: () => void tf.tidy(() => void compute()),
    read: async () => {
      const outputs = tf.tidy(compute);
      const found: Record<string, ArrayLike<number>> = {};
      for (const [name, x] of Object.entries(outputs)) {
        const order = layout(work, name);
        const canonical = order ? tf.transpose(x, order.back) : x;
        found[name] = await canonical.data();
        canonical.dispose();
        if (order) x.dispose();
      }
      return found;
    },
    dispose: () => {
      for (const x of Object.values(placed)) x.dispose();
    },
  };
}

type Outputs = Record<string, TfTensor>;

function build(tf: Tf, work: Work, t: Record<string, TfTensor>): (() => Outputs) | null {
  const dy = t["dy"];
  const rowsOf = (names: readonly string[], forward: TfFunction): (() => Outputs) => {
    const xs = names.map((name) => t[name]!);
    if (work.part !== "both") return () => ({ y: forward(...xs) });
    const both = tf.valueAndGrads(forward);
    return () => {
      const { value, grads } = both(xs, dy);
      return { y: value, ...Object.fromEntries(grads.map((g, i) => [`d${names[i]}`, g])) };
    };
  };
  switch (work.op) {
    case "matmul": {
      const { transA = false, transB = false } = work;
      const { a, b } = t as { a: TfTensor; b: TfTensor };
      if (work.part === "forward") return () => ({ y: tf.matMul(a, b, transA, transB) });
      return () => ({
        da: transA ? tf.matMul(b, dy!, transB, true) : tf.matMul(dy!, b, false, !transB),
        db: transB ? tf.matMul(dy!, a, true, transA) : tf.matMul(a, dy!, !transA, false),
      });
    }
    case "conv":
      return conv(tf, work, t);
    case "softmax":
      return rowsOf(["x"], (x) => tf.softmax(x!));
    case "layerNorm":
      return rowsOf(["x", "weight", "bias"], (x, w, b) => normalize(tf, x!, w!, b!, [1]));
    case "groupNorm":
      return rowsOf(["x", "weight", "bias"], (x, w, b) => {
        const y = groupNorm(tf, x!, w!, b!, work.groups);
        return work.silu ? tf.mul(y, tf.sigmoid(y)) : y;
      });
    case "gelu":
      return rowsOf(["x"], (x) => gelu(tf, x!));
    case "attention":
      return rowsOf(["q", "k", "v"], (q, k, v) => attend(tf, q!, k!, v!));
    case "embedding":
      return rowsOf(["table"], (table) => tf.gather(table!, t["ids"]!));
    case "upsample":
      return rowsOf(["x"], (x) => tf.image.resizeNearestNeighbor(x!, [2 * work.h, 2 * work.h]));
    case "sum":
      return () => ({ y: work.axis === "all" ? tf.sum(t["x"]!) : tf.sum(t["x"]!, work.axis) });
    case "vitBlock": {
      const { tokens, width, heads } = work;
      const names = ["x", "g1", "b1", "wqkv", "wproj", "g2", "b2", "wup", "wdown"];
      return rowsOf(names, (x, g1, b1, wqkv, wproj, g2, b2, wup, wdown) => {
        const qkv = tf.matMul(normalize(tf, x!, g1!, b1!, [1]), wqkv!);
        const parts = tf.transpose(tf.reshape(qkv, [tokens, 3, heads, width / heads]), [1, 2, 0, 3]);
        const [q, k, v] = tf.split(parts, 3, 0).map((p) => tf.reshape(p, [heads, tokens, width / heads]));
        const mixed = tf.reshape(tf.transpose(attend(tf, q!, k!, v!), [1, 0, 2]), [tokens, width]);
        const middle = tf.add(x!, tf.matMul(mixed, wproj!));
        const hidden = gelu(tf, tf.matMul(normalize(tf, middle, g2!, b2!, [1]), wup!));
        return tf.add(middle, tf.matMul(hidden, wdown!));
      });
    }
    case "unetBlock":
      return rowsOf(["x", "g1", "b1", "w1", "g2", "b2", "w2"], (x, g1, b1, w1, g2, b2, w2) => {
        // The norm wants NCHW and the convolution NHWC: two transpositions cost less than the norm in the other order.
        const activated = (y: TfTensor, g: TfTensor, b: TfTensor): TfTensor => {
          const normed = groupNorm(tf, tf.transpose(y, NHWC_TO_NCHW), g, b, work.groups);
          return tf.transpose(tf.mul(normed, tf.sigmoid(normed)), NCHW_TO_NHWC);
        };
        const middle = tf.conv2d(activated(x!, g1!, b1!), w1!, 1, "same");
        return tf.add(x!, tf.conv2d(activated(middle, g2!, b2!), w2!, 1, "same"));
      });
    default:
      return null;
  }
}

function conv(tf: Tf, work: ConvWork, t: Record<string, TfTensor>): () => Outputs {
  const { n, c, h, o, k, stride, padding } = work;
  const { x, w, dy } = t as { x: TfTensor; w: TfTensor; dy: TfTensor };
  if (work.part === "forward") return () => ({ y: tf.conv2d(x, w, stride, padding) });
  const attrs = { strides: [stride, stride], pad: padding, dataFormat: "NHWC", dimRoundingMode: null };
  if (work.part === "dX")
    return () => ({
      dx: tf.engine().runKernel("Conv2DBackpropInput", { dy, filter: w }, { ...attrs, inputShape: [n, h, h, c] }),
    });
  return () => ({
    dw: tf.engine().runKernel("Conv2DBackpropFilter", { x, dy }, { ...attrs, filterShape: [k, k, c, o] }),
  });
}

function normalize(tf: Tf, x: TfTensor, weight: TfTensor, bias: TfTensor, axes: readonly number[]): TfTensor {
  const { mean, variance } = tf.moments(x, axes, true);
  return tf.add(tf.mul(tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, 1e-5))), weight), bias);
}

/** x [n, c, h, w]: statistics over the last axis of [n, groups, rest], which its reductions are four times faster at than at NHWC's. */
function groupNorm(tf: Tf, x: TfTensor, weight: TfTensor, bias: TfTensor, groups: number): TfTensor {
  const [n, c, h, w] = x.shape as [number, number, number, number];
  const grouped = tf.reshape(x, [n, groups, (c / groups) * h * w]);
  const { mean, variance } = tf.moments(grouped, [2], true);
  const normed = tf.reshape(tf.mul(tf.sub(grouped, mean), tf.rsqrt(tf.add(variance, 1e-5))), x.shape);
  const by = (v: TfTensor): TfTensor => tf.reshape(v, [1, c, 1, 1]);
  return tf.add(tf.mul(normed, by(weight)), by(bias));
}

function gelu(tf: Tf, x: TfTensor): TfTensor {
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));
}

function attend(tf: Tf, q: TfTensor, k: TfTensor, v: TfTensor): TfTensor {
  const scores = tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(q.shape.at(-1)!));
  return tf.matMul(tf.softmax(scores), v);
}

function mlp(tf: Tf, work: Work & { op: "mlp" }, t: Record<string, TfTensor>): Program {
  const layers = work.widths.length - 1;
  const weights = Object.fromEntries(
    Object.keys(t)
      .filter((name) => /^[wb]\d/.test(name))
      .map((name) => [name, tf.variable(t[name]!)]),
  );
  const labels = tf.oneHot(t["classes"]!, work.widths.at(-1)!);
  const optimizer = tf.train.adam(1e-3);
  const loss = (): TfTensor => {
    let x = t["x"]!;
    for (let i = 1; i <= layers; i++) {
      x = tf.add(tf.matMul(x, weights[`w${i}`]!), weights[`b${i}`]!);
      if (i < layers) x = tf.relu(x);
    }
    return tf.losses.softmaxCrossEntropy(labels, x);
  };
  return {
    run: () => optimizer.minimize(loss, true).dispose(),
    read: async () => {
      const losses: number[] = [];
      for (let i = 0; i < MLP_STEPS; i++) {
        const value = optimizer.minimize(loss, true);
        losses.push((await value.data())[0]!);
        value.dispose();
      }
      return { loss: losses };
    },
    dispose: () => {
      for (const x of [...Object.values(t), ...Object.values(weights), labels]) x.dispose();
    },
  };
}

/** AdamW as a user of TensorFlow.js writes it: its own Adam has no decoupled decay. */
function adamw(tf: Tf, t: Record<string, TfTensor>): Program {
  const { lr, beta1, beta2, eps, decay } = ADAMW;
  const g = t["g"]!;
  let state = [t["w"]!, t["m"]!, t["v"]!] as [TfTensor, TfTensor, TfTensor];
  let steps = 0;
  const step = (): void => {
    steps++;
    const before = state;
    state = tf.tidy(() => {
      const [w, m, v] = before;
      const m1 = tf.add(tf.mul(m, beta1), tf.mul(g, 1 - beta1));
      const v1 = tf.add(tf.mul(v, beta2), tf.mul(tf.square(g), 1 - beta2));
      const root = tf.add(tf.sqrt(tf.mul(v1, 1 / (1 - beta2 ** steps))), eps);
      const change = tf.mul(tf.div(m1, root), lr / (1 - beta1 ** steps));
      return [tf.sub(tf.mul(w, 1 - lr * decay), change), m1, v1] as [TfTensor, TfTensor, TfTensor];
    });
    for (const x of before) x.dispose();
  };
  return {
    run: step,
    read: async () => {
      step();
      const [w, m, v] = await Promise.all(state.map((x) => x.data()));
      return { w: w!, m: m!, v: v! };
    },
    dispose: () => {
      for (const x of [...state, g]) x.dispose();
    },
  };
}
