/** jax-js: every row is one jitted function, gradients by `vjp`; each call consumes its arguments, so those that stay are passed by `.ref`. */
import { ADAMW, MLP_STEPS } from "../reference/reference.ts";
import type { HostArray, Work } from "../work.ts";
import type { Engine, PeerHost, Program } from "./engine.ts";

type Operand = JaxArray | number;

interface JaxArray {
  readonly ref: JaxArray;
  readonly shape: number[];
  dispose(): void;
  data(): Promise<ArrayLike<number>>;
  /** Computes and submits; consumes the array. */
  gpuBufferSync(): GPUBuffer;
  add(other: Operand): JaxArray;
  sub(other: Operand): JaxArray;
  mul(other: Operand): JaxArray;
  div(other: Operand): JaxArray;
  neg(): JaxArray;
  sum(axis?: number): JaxArray;
  reshape(shape: readonly number[]): JaxArray;
  transpose(axes?: readonly number[]): JaxArray;
}

type Function = (...xs: JaxArray[]) => JaxArray;
type Functions = (...xs: JaxArray[]) => JaxArray[];

interface Jax {
  init(device: string): Promise<string[]>;
  defaultDevice(device: string): string;
  jit(f: Functions): Functions & { dispose(): void };
  vjp(f: Function, xs: readonly JaxArray[]): [JaxArray, ((gradient: JaxArray) => JaxArray[]) & { dispose?(): void }];
  readonly lax: {
    convGeneralDilated(
      x: JaxArray,
      w: JaxArray,
      strides: readonly number[],
      padding: readonly (readonly number[])[],
    ): JaxArray;
  };
  readonly nn: {
    softmax(x: JaxArray, axis: number): JaxArray;
    logSoftmax(x: JaxArray, axis: number): JaxArray;
    gelu(x: JaxArray, options: { approximate: boolean }): JaxArray;
    silu(x: JaxArray): JaxArray;
    relu(x: JaxArray): JaxArray;
    standardize(x: JaxArray, axis: number): JaxArray;
    oneHot(x: JaxArray, classes: number): JaxArray;
  };
  readonly numpy: {
    readonly int32: unknown;
    array(data: Float32Array | Int32Array, options: { shape: readonly number[] }): JaxArray;
    matmul(a: JaxArray, b: JaxArray): JaxArray;
    matrixTranspose(a: JaxArray): JaxArray;
    take(table: JaxArray, ids: JaxArray, axis: number): JaxArray;
    broadcastTo(x: JaxArray, shape: readonly number[]): JaxArray;
    split(x: JaxArray, parts: number, axis: number): JaxArray[];
    sqrt(x: JaxArray): JaxArray;
  };
}

export async function startJax(host: PeerHost): Promise<Engine> {
  const jax = (await host.load("jax.mjs")) as Jax;
  const devices = await jax.init("webgpu");
  if (!devices.includes("webgpu")) throw new Error("jax-js found no WebGPU");
  jax.defaultDevice("webgpu");
  const queue = host.lastDevice().queue;
  return {
    name: "jax-js",
    version: host.versions["@jax-js/jax"] ?? "",
    sync: () => host.settle(queue),
    prepare: async (work, inputs) => prepare(jax, work, inputs),
    dispose: () => {},
  };
}

function prepare(jax: Jax, work: Work, inputs: Record<string, HostArray>): Program | null {
  const names = Object.keys(inputs);
  const place = (): JaxArray[] => names.map((name) => jax.numpy.array(inputs[name]!.data, inputs[name]!));
  if (work.op === "mlp") return mlp(jax, work, place());
  if (work.op === "adamw") return adamw(jax, place());
  const built = build(jax, work);
  if (!built) return null;
  const f = jax.jit(built.f);
  const xs = place();
  const call = (): JaxArray[] => f(...xs.map((x) => x.ref));
  return {
    // Arrays are lazy: asking for their buffers is what submits. (`blockUntilReady` would also read back, once for each array.)
    run: () => call().forEach(submit),
    read: async () => {
      const found: Record<string, ArrayLike<number>> = {};
      const outputs = call();
      for (const [i, name] of built.outputs.entries()) found[name] = await outputs[i]!.data();
      return found;
    },
    dispose: () => {
      for (const x of xs) x.dispose();
      f.dispose();
    },
  };
}

const submit = (x: JaxArray): void => void x.gpuBufferSync();

interface Built {
  readonly f: Functions;
  readonly outputs: readonly string[];
}

/** y and the gradients by the first `inputs.length` arguments; the last argument is y's gradient, those between are constants. */
function withGradients(
  jax: Jax,
  inputs: readonly string[],
  forward: Function,
  { keepResult = true }: { keepResult?: boolean } = {},
): Built {
  const f = (...xs: JaxArray[]): JaxArray[] => {
    const dy = xs.at(-1)!;
    const constants = xs.slice(inputs.length, -1);
    const [y, pull] = jax.vjp((...vs) => forward(...vs, ...constants), xs.slice(0, inputs.length));
    const gradients = pull(dy);
    pull.dispose?.();
    if (keepResult) return [y, ...gradients];
    y.dispose();
    return gradients;
  };
  return { f, outputs: [...(keepResult ? ["y"] : []), ...inputs.map((name) => `d${name}`)] };
}

function build(jax: Jax, work: Work): Built | null {
  const { numpy, nn } = jax;
  const rowsOf = (inputs: readonly string[], forward: Function): Built =>
    work.part === "both" ? withGradients(jax, inputs, forward) : { f: (...xs) => [forward(...xs)], outputs: ["y"] };
  switch (work.op) {
    case "matmul": {
      const { transA, transB } = work;
      const forward: Function = (a, b) =>
        numpy.matmul(transA ? numpy.matrixTranspose(a!) : a!, transB ? numpy.matrixTranspose(b!) : b!);
      if (work.part === "backward") return withGradients(jax, ["a", "b"], forward, { keepResult: false });
      return rowsOf(["a", "b"], forward);
    }
    case "conv": {
      const { stride, padding } = work;
      const conv = (x: JaxArray, w: JaxArray): JaxArray =>
        jax.lax.convGeneralDilated(
          x,
          w,
          [stride, stride],
          [
            [padding, padding],
            [padding, padding],
          ],
        );
      if (work.part === "forward") return { f: (x, w) => [conv(x!, w!)], outputs: ["y"] };
      if (work.part === "dX") return withGradients(jax, ["x"], (x, w) => conv(x!, w!), { keepResult: false });
      const { f } = withGradients(jax, ["w"], (w, x) => conv(x!, w!), { keepResult: false });
      return { f: (x, w, dy) => f(w!, x!, dy!), outputs: ["dw"] };
    }
    case "softmax":
      return rowsOf(["x"], (x) => nn.softmax(x!, -1));
    case "layerNorm":
      return rowsOf(["x", "weight", "bias"], (x, w, b) => layerNorm(jax, x!, w!, b!));
    case "groupNorm":
      return rowsOf(["x", "weight", "bias"], (x, w, b) => {
        const y = groupNorm(jax, x!, w!, b!, work.groups);
        return work.silu ? nn.silu(y) : y;
      });
    case "gelu":
      return rowsOf(["x"], (x) => nn.gelu(x!, { approximate: false }));
    case "attention":
      return rowsOf(["q", "k", "v"], (q, k, v) => attend(jax, q!, k!, v!));
    case "embedding": {
      if (work.part === "forward") return { f: (table, ids) => [numpy.take(table!, ids!, 0)], outputs: ["y"] };
      return withGradients(jax, ["table"], (table, ids) => numpy.take(table!, ids!, 0));
    }
    case "upsample": {
      const { n, c, h } = work;
      return rowsOf(["x"], (x) =>
        numpy.broadcastTo(x!.reshape([n, c, h, 1, h, 1]), [n, c, h, 2, h, 2]).reshape([n, c, 2 * h, 2 * h]),
      );
    }
    case "sum":
      return { f: (x) => [work.axis === "all" ? x!.sum() : x!.sum(work.axis)], outputs: ["y"] };
    case "vitBlock": {
      const { tokens, width, heads } = work;
      const names = ["x", "g1", "b1", "wqkv", "wproj", "g2", "b2", "wup", "wdown"];
      return rowsOf(names, (x, g1, b1, wqkv, wproj, g2, b2, wup, wdown) => {
        const qkv = numpy
          .matmul(layerNorm(jax, x!.ref, g1!, b1!), wqkv!)
          .reshape([tokens, 3, heads, width / heads])
          .transpose([1, 2, 0, 3]);
        const [q, k, v] = numpy.split(qkv, 3, 0).map((t) => t.reshape([heads, tokens, width / heads]));
        const mixed = attend(jax, q!, k!, v!).transpose([1, 0, 2]).reshape([tokens, width]);
        const middle = x!.add(numpy.matmul(mixed, wproj!));
        const hidden = nn.gelu(numpy.matmul(layerNorm(jax, middle.ref, g2!, b2!), wup!), { approximate: false });
        return middle.add(numpy.matmul(hidden, wdown!));
      });
    }
    case "unetBlock": {
      const conv = (x: JaxArray, w: JaxArray): JaxArray =>
        jax.lax.convGeneralDilated(
          x,
          w,
          [1, 1],
          [
            [1, 1],
            [1, 1],
          ],
        );
      return rowsOf(["x", "g1", "b1", "w1", "g2", "b2", "w2"], (x, g1, b1, w1, g2, b2, w2) => {
        const middle = conv(nn.silu(groupNorm(jax, x!.ref, g1!, b1!, work.groups)), w1!);
        return x!.add(conv(nn.silu(groupNorm(jax, middle, g2!, b2!, work.groups)), w2!));
      });
    }
    default:
      return null;
  }
}

function layerNorm({ nn }: Jax, x: JaxArray, weight: JaxArray, bias: JaxArray): JaxArray {
  return nn.standardize(x, -1).mul(weight).add(bias);
}

function groupNorm({ nn }: Jax, x: JaxArray, weight: JaxArray, bias: JaxArray, groups: number): JaxArray {
  const { shape } = x;
  const [n, c, h, w] = shape as [number, number, number, number];
  const y = nn.standardize(x.reshape([n, groups, (c / groups) * h * w]), -1).reshape(shape);
  return y.mul(weight.reshape([1, c, 1, 1])).add(bias.reshape([1, c, 1, 1]));
}

function attend({ numpy, nn }: Jax, q: JaxArray, k: JaxArray, v: JaxArray): JaxArray {
  const scores = numpy.matmul(q.mul(1 / Math.sqrt(v.shape.at(-1)!)), numpy.matrixTranspose(k));
  return numpy.matmul(nn.softmax(scores, -1), v);
}

/** One jitted training step over weights and moments; what changes per step is an array of two bias corrections. */
function mlp(jax: Jax, work: Work & { op: "mlp" }, placed: JaxArray[]): Program {
  const { nn, numpy } = jax;
  const [x, classes, ...initial] = placed as [JaxArray, JaxArray, ...JaxArray[]];
  const count = initial.length;
  const zeros = (): JaxArray[] =>
    initial.map(({ shape }) => numpy.array(new Float32Array(shape.reduce((p, n) => p * n, 1)), { shape }));
  const loss = (...xs: JaxArray[]): JaxArray => {
    const weights = xs.slice(0, count);
    let hidden = xs[count]!;
    for (let i = 0; i < count; i += 2) {
      hidden = numpy.matmul(hidden, weights[i]!).add(weights[i + 1]!);
      if (i + 2 < count) hidden = nn.relu(hidden);
    }
    const picked = nn.logSoftmax(hidden, -1).mul(nn.oneHot(xs[count + 1]!, work.widths.at(-1)!));
    return picked.sum().mul(-1 / work.batch);
  };
  const step = jax.jit((...xs) => {
    const [w, m, v] = [0, 1, 2].map((i) => xs.slice(i * count, (i + 1) * count)) as [
      JaxArray[],
      JaxArray[],
      JaxArray[],
    ];
    const [input, labels, c1, c2, one] = xs.slice(3 * count);
    const [value, pull] = jax.vjp(
      (...vs) => loss(...vs, input!, labels!),
      w.map((t) => t.ref),
    );
    const gradients = pull(one!);
    pull.dispose?.();
    const m1 = m.map((t, i) => t.mul(0.9).add(gradients[i]!.ref.mul(0.1)));
    const v1 = v.map((t, i) => t.mul(0.999).add(gradients[i]!.ref.mul(gradients[i]!).mul(0.001)));
    const w1 = w.map((t, i) => {
      const root = numpy.sqrt(v1[i]!.ref.div(c2!.ref)).add(1e-8);
      return t.sub(m1[i]!.ref.div(c1!.ref).div(root).mul(1e-3));
    });
    c1!.dispose();
    c2!.dispose();
    return [value, ...w1, ...m1, ...v1];
  });
  let state = [...initial, ...zeros(), ...zeros()];
  let steps = 0;
  const scalar = (value: number): JaxArray => numpy.array(new Float32Array([value]), { shape: [] });
  const advance = (): JaxArray => {
    steps++;
    const corrections = [1 - 0.9 ** steps, 1 - 0.999 ** steps, 1].map(scalar);
    const [value, ...next] = step(...state, x.ref, classes.ref, ...corrections);
    state = next;
    return value!;
  };
  return {
    run: () => {
      submit(advance());
      for (const t of state) submit(t.ref);
    },
    read: async () => {
      const losses: number[] = [];
      for (let i = 0; i < MLP_STEPS; i++) losses.push((await advance().data())[0]!);
      return { loss: losses };
    },
    dispose: () => {
      for (const t of [...state, x, classes]) t.dispose();
      step.dispose();
    },
  };
}

function adamw(jax: Jax, [w, g, m, v]: JaxArray[]): Program {
  const { lr, beta1, beta2, eps, decay } = ADAMW;
  const step = jax.jit((w, g, m, v, c1, c2) => {
    const m1 = m!.mul(beta1).add(g!.ref.mul(1 - beta1));
    const v1 = v!.mul(beta2).add(g!.ref.mul(g!).mul(1 - beta2));
    const root = jax.numpy.sqrt(v1.ref.div(c2!)).add(eps);
    return [w!.mul(1 - lr * decay).sub(m1.ref.div(c1!).div(root).mul(lr)), m1, v1];
  });
  let state = [w!, m!, v!];
  let steps = 0;
  const advance = (): void => {
    steps++;
    const [c1, c2] = [1 - beta1 ** steps, 1 - beta2 ** steps].map((c) =>
      jax.numpy.array(new Float32Array([c]), { shape: [] }),
    );
    state = step(state[0]!, g!.ref, state[1]!, state[2]!, c1!, c2!);
  };
  return {
    run: () => {
      advance();
      for (const t of state) submit(t.ref);
    },
    read: async () => {
      advance();
      const [nw, nm, nv] = await Promise.all(state.map((t) => t.ref.data()));
      return { w: nw!, m: nm!, v: nv! };
    },
    dispose: () => {
      for (const t of [...state, g!]) t.dispose();
      step.dispose();
    },
  };
}
