/** Float64 references of every row: whole results where that is cheap, samples of them where it is not. */
import { type ConvWork, convOut, type HostArray, type MatmulWork, outputShapes, sizeOf, type Work } from "../work.ts";
import {
  add,
  attend,
  beside,
  columns,
  constant,
  conv3x3,
  crossEntropy,
  gelu,
  geluAt,
  geluSlope,
  groupNorm,
  layerNorm,
  matmul,
  relu,
  silu,
  softmax,
  type Value,
} from "./graph.ts";

type Inputs = Record<string, HostArray>;

/** Where an output was sampled and what stands there. */
export interface Sample {
  readonly index: Int32Array;
  readonly value: Float64Array;
}

const SAMPLES = 96;

/** Evenly spread positions, an odd step apart so that no row or column is favoured. */
function positions(size: number, count = SAMPLES): Int32Array {
  if (size <= count) return Int32Array.from({ length: size }, (_, i) => i);
  return Int32Array.from({ length: count }, (_, i) => Math.floor(((i + 0.37) * size) / count));
}

function sample(shape: readonly number[], at: (flat: number) => number, count?: number): Sample {
  const index = positions(sizeOf(shape), count);
  return { index, value: Float64Array.from(index, at) };
}

const whole = (data: Float64Array): Sample => ({ index: Int32Array.from(data, (_, i) => i), value: data });

/** Largest |difference| over the samples relative to the largest |reference|; infinite where an output holds no number. */
export function relativeError(found: ArrayLike<number>, { index, value }: Sample): number {
  let top = 0;
  let worst = 0;
  for (let i = 0; i < index.length; i++) {
    const difference = Math.abs(found[index[i]!]! - value[i]!);
    if (!(difference < Number.POSITIVE_INFINITY)) return Number.POSITIVE_INFINITY;
    worst = Math.max(worst, difference);
    top = Math.max(top, Math.abs(value[i]!));
  }
  return worst / Math.max(top, 1e-30);
}

/** The samples of each of a work's outputs, by the names of `outputShapes`. */
export function reference(work: Work, inputs: Inputs): Record<string, Sample> {
  switch (work.op) {
    case "matmul":
      return matmulReference(work, inputs);
    case "conv":
      return convReference(work, inputs);
    case "gelu": {
      const x = inputs["x"]!.data;
      const y = sample([work.size], (i) => geluAt(x[i]!), 4096);
      if (work.part === "forward") return { y };
      return { y, dx: sample([work.size], (i) => inputs["dy"]!.data[i]! * geluSlope(x[i]!), 4096) };
    }
    case "attention":
      return attentionReference(work, inputs);
    case "embedding":
      return embeddingReference(work, inputs);
    case "bicubic":
      return { y: sample([work.n, work.c, work.size, work.size], (flat) => bicubicAt(work, inputs["x"]!.data, flat)) };
    case "upsample":
      return upsampleReference(work, inputs);
    case "sum":
      return { y: sumReference(work, inputs["x"]!.data) };
    case "mlp":
      return { loss: whole(mlpLosses(work, inputs)) };
    case "adamw":
      return adamwReference(inputs);
    default:
      return graphReference(work, inputs);
  }
}

function matmulReference(work: MatmulWork, inputs: Inputs): Record<string, Sample> {
  const { m, k, n, transA, transB } = work;
  const a = inputs["a"]!.data;
  const b = inputs["b"]!.data;
  const dy = inputs["dy"]?.data;
  const atA = (p: number, i: number, q: number): number => a[p * m * k + (transA ? q * m + i : i * k + q)]!;
  const atB = (p: number, q: number, j: number): number => b[p * k * n + (transB ? j * k + q : q * n + j)]!;
  const shapes = outputShapes(work);
  const sum = (length: number, term: (i: number) => number): number => {
    let total = 0;
    for (let i = 0; i < length; i++) total += term(i);
    return total;
  };
  if (!dy)
    return {
      y: sample(shapes["y"]!, (flat) => {
        const [p, i, j] = [Math.floor(flat / (m * n)), Math.floor(flat / n) % m, flat % n];
        return sum(k, (q) => atA(p, i, q) * atB(p, q, j));
      }),
    };
  return {
    da: sample(shapes["da"]!, (flat) => {
      const p = Math.floor(flat / (m * k));
      const rest = flat % (m * k);
      const [i, q] = transA ? [rest % m, Math.floor(rest / m)] : [Math.floor(rest / k), rest % k];
      return sum(n, (j) => dy[(p * m + i) * n + j]! * atB(p, q, j));
    }),
    db: sample(shapes["db"]!, (flat) => {
      const p = Math.floor(flat / (k * n));
      const rest = flat % (k * n);
      const [q, j] = transB ? [rest % k, Math.floor(rest / k)] : [Math.floor(rest / n), rest % n];
      return sum(m, (i) => dy[(p * m + i) * n + j]! * atA(p, i, q));
    }),
  };
}

function convReference(work: ConvWork, inputs: Inputs): Record<string, Sample> {
  const { n, c, h, o, k, stride, padding } = work;
  const out = convOut(work);
  const x = inputs["x"]!.data;
  const w = inputs["w"]!.data;
  const dy = inputs["dy"]?.data;
  const pixel = (b: number, q: number, y: number, z: number): number =>
    y < 0 || z < 0 || y >= h || z >= h ? 0 : x[((b * c + q) * h + y) * h + z]!;
  const shapes = outputShapes(work);
  if (work.part === "forward")
    return {
      y: sample(shapes["y"]!, (flat) => {
        const [b, p] = [Math.floor(flat / (o * out * out)), Math.floor(flat / (out * out)) % o];
        const [y, z] = [Math.floor(flat / out) % out, flat % out];
        let sum = 0;
        for (let q = 0; q < c; q++)
          for (let i = 0; i < k; i++)
            for (let j = 0; j < k; j++)
              sum +=
                w[((p * c + q) * k + i) * k + j]! * pixel(b, q, y * stride + i - padding, z * stride + j - padding);
        return sum;
      }),
    };
  if (work.part === "dW")
    return {
      dw: sample(shapes["dw"]!, (flat) => {
        const [p, q] = [Math.floor(flat / (c * k * k)), Math.floor(flat / (k * k)) % c];
        const [i, j] = [Math.floor(flat / k) % k, flat % k];
        let sum = 0;
        for (let b = 0; b < n; b++)
          for (let y = 0; y < out; y++)
            for (let z = 0; z < out; z++)
              sum +=
                dy![((b * o + p) * out + y) * out + z]! *
                pixel(b, q, y * stride + i - padding, z * stride + j - padding);
        return sum;
      }),
    };
  return {
    dx: sample(shapes["dx"]!, (flat) => {
      const [b, q] = [Math.floor(flat / (c * h * h)), Math.floor(flat / (h * h)) % c];
      const [y, z] = [Math.floor(flat / h) % h, flat % h];
      let sum = 0;
      for (let i = 0; i < k; i++)
        for (let j = 0; j < k; j++) {
          const top = y + padding - i;
          const left = z + padding - j;
          if (top % stride || left % stride || top < 0 || left < 0) continue;
          if (top / stride >= out || left / stride >= out) continue;
          for (let p = 0; p < o; p++)
            sum += w[((p * c + q) * k + i) * k + j]! * dy![((b * o + p) * out + top / stride) * out + left / stride]!;
        }
      return sum;
    }),
  };
}

/** The last head alone, whole. */
function attentionReference(work: Work & { op: "attention" }, inputs: Inputs): Record<string, Sample> {
  const { heads, tokens, size, part } = work;
  const start = (heads - 1) * tokens * size;
  const head = (name: string): Float64Array =>
    Float64Array.from(inputs[name]!.data.subarray(start, start + tokens * size));
  const shifted = (data: Float64Array): Sample => ({ index: Int32Array.from(data, (_, i) => start + i), value: data });
  if (part === "forward") {
    const k = head("k");
    const v = head("v");
    const rows = positions(tokens, 16);
    const index = new Int32Array(rows.length * size);
    const value = new Float64Array(index.length);
    rows.forEach((row, r) => {
      const q = constant([1, size], inputs["q"]!.data.subarray(start + row * size, start + (row + 1) * size));
      value.set(attend(q, constant([tokens, size], k), constant([tokens, size], v)).data, r * size);
      for (let i = 0; i < size; i++) index[r * size + i] = start + row * size + i;
    });
    return { y: { index, value } };
  }
  const [q, k, v] = ["q", "k", "v"].map((name) => constant([tokens, size], head(name))) as [Value, Value, Value];
  const y = attend(q, k, v);
  y.backward(head("dy"));
  return { y: shifted(y.data), dq: shifted(q.grad), dk: shifted(k.grad), dv: shifted(v.grad) };
}

function embeddingReference(work: Work & { op: "embedding" }, inputs: Inputs): Record<string, Sample> {
  const { count, width } = work;
  const [table, ids] = [inputs["table"]!.data, inputs["ids"]!.data];
  const y = sample(outputShapes(work)["y"]!, (flat) => table[ids[Math.floor(flat / width)]! * width + (flat % width)]!);
  if (work.part === "forward") return { y };
  const dy = inputs["dy"]!.data;
  const dtable = sample([count, width], (flat) => {
    let sum = 0;
    ids.forEach((id, i) => {
      if (id === Math.floor(flat / width)) sum += dy[i * width + (flat % width)]!;
    });
    return sum;
  });
  return { y, dtable };
}

/** Keys' cubic with a = −0.75, half-pixel centres, borders repeated: PyTorch's bicubic without antialiasing. */
function bicubicAt(work: Work & { op: "bicubic" }, x: ArrayLike<number>, flat: number): number {
  const { h, size } = work;
  const plane = Math.floor(flat / (size * size));
  const keys = (d: number): number =>
    d < 1 ? 1.25 * d ** 3 - 2.25 * d ** 2 + 1 : d < 2 ? -0.75 * (d ** 3 - 5 * d ** 2 + 8 * d - 4) : 0;
  const taps = (r: number): [at: number, weight: number][] => {
    const centre = (h / size) * (r + 0.5) - 0.5;
    return [-1, 0, 1, 2].map((step) => {
      const i = Math.floor(centre) + step;
      return [Math.min(Math.max(i, 0), h - 1), keys(Math.abs(centre - i))];
    });
  };
  let sum = 0;
  for (const [i, u] of taps(Math.floor(flat / size) % size))
    for (const [j, v] of taps(flat % size)) sum += u * v * x[(plane * h + i) * h + j]!;
  return sum;
}

function upsampleReference(work: Work & { op: "upsample" }, inputs: Inputs): Record<string, Sample> {
  const { h } = work;
  const shapes = outputShapes(work);
  const x = inputs["x"]!.data;
  const y = sample(shapes["y"]!, (flat) => {
    const plane = Math.floor(flat / (4 * h * h));
    return x[(plane * h + ((Math.floor(flat / (2 * h)) % (2 * h)) >> 1)) * h + ((flat % (2 * h)) >> 1)]!;
  });
  if (work.part === "forward") return { y };
  const dy = inputs["dy"]!.data;
  const dx = sample(shapes["dx"]!, (flat) => {
    const at = Math.floor(flat / h) * 4 * h + 2 * (flat % h);
    return dy[at]! + dy[at + 1]! + dy[at + 2 * h]! + dy[at + 2 * h + 1]!;
  });
  return { y, dx };
}

function sumReference(work: Work & { op: "sum" }, x: ArrayLike<number>): Sample {
  const { rows, cols, axis } = work;
  const out = new Float64Array(axis === "all" ? 1 : axis === 0 ? cols : rows);
  for (let i = 0; i < rows * cols; i++)
    out[axis === "all" ? 0 : axis === 0 ? i % cols : Math.floor(i / cols)]! += x[i]!;
  return whole(out);
}

/** Steps that an MLP row's check takes. */
export const MLP_STEPS = 3;

function mlpLosses(work: Work & { op: "mlp" }, inputs: Inputs): Float64Array {
  const layers = work.widths.length - 1;
  const names = Object.keys(inputs).filter((name) => /^[wb]\d/.test(name));
  let weights = new Map(names.map((name) => [name, constant(inputs[name]!.shape, inputs[name]!.data)]));
  const moments = new Map(names.map((name) => [name, [0, 1].map(() => new Float64Array(inputs[name]!.data.length))]));
  const losses = new Float64Array(MLP_STEPS);
  for (let step = 1; step <= MLP_STEPS; step++) {
    let x = constant(inputs["x"]!.shape, inputs["x"]!.data);
    for (let i = 1; i <= layers; i++) {
      x = add(matmul(x, weights.get(`w${i}`)!), weights.get(`b${i}`)!);
      if (i < layers) x = relu(x);
    }
    const loss = crossEntropy(x, inputs["classes"]!.data);
    loss.backward([1]);
    losses[step - 1] = loss.data[0]!;
    weights = new Map(
      names.map((name) => {
        const { shape, data, grad } = weights.get(name)!;
        const [first, second] = moments.get(name) as [Float64Array, Float64Array];
        const next = data.map((w, i) => {
          first[i] = 0.9 * first[i]! + 0.1 * grad[i]!;
          second[i] = 0.999 * second[i]! + 0.001 * grad[i]! ** 2;
          return w - (1e-3 * first[i]!) / (1 - 0.9 ** step) / (Math.sqrt(second[i]! / (1 - 0.999 ** step)) + 1e-8);
        });
        return [name, constant(shape, next)];
      }),
    );
  }
  return losses;
}

/** The hyperparameters of the AdamW rows; its first step is step 1. */
export const ADAMW = { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: 0.01 } as const;

function adamwReference(inputs: Inputs): Record<string, Sample> {
  const { lr, beta1, beta2, eps, decay } = ADAMW;
  const [w, g, m, v] = ["w", "g", "m", "v"].map((name) => inputs[name]!.data) as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const first = (i: number): number => beta1 * m[i]! + (1 - beta1) * g[i]!;
  const second = (i: number): number => beta2 * v[i]! + (1 - beta2) * g[i]! ** 2;
  const shape = inputs["w"]!.shape;
  return {
    w: sample(
      shape,
      (i) => w[i]! * (1 - lr * decay) - (lr * first(i)) / (1 - beta1) / (Math.sqrt(second(i) / (1 - beta2)) + eps),
      4096,
    ),
    m: sample(shape, first, 4096),
    v: sample(shape, second, 4096),
  };
}

/** The works whose references are the tape's. */
function graphReference(
  work: Work & { op: "softmax" | "layerNorm" | "groupNorm" | "vitBlock" | "unetBlock" },
  inputs: Inputs,
): Record<string, Sample> {
  const values: Record<string, Value> = {};
  for (const [name, { shape, data }] of Object.entries(inputs)) if (name !== "dy") values[name] = constant(shape, data);
  const y = build(work, values);
  const outputs: Record<string, Sample> = { y: whole(y.data) };
  if (work.part === "forward") return outputs;
  y.backward(inputs["dy"]!.data);
  for (const [name, value] of Object.entries(values)) outputs[`d${name}`] = whole(value.grad);
  return outputs;
}

function build(
  work: Work & { op: "softmax" | "layerNorm" | "groupNorm" | "vitBlock" | "unetBlock" },
  v: Record<string, Value>,
): Value {
  switch (work.op) {
    case "softmax":
      return softmax(v["x"]!);
    case "layerNorm":
      return layerNorm(v["x"]!, v["weight"]!, v["bias"]!);
    case "groupNorm": {
      const y = groupNorm(v["x"]!, v["weight"]!, v["bias"]!, work.groups);
      return work.silu ? silu(y) : y;
    }
    case "vitBlock": {
      const qkv = matmul(layerNorm(v["x"]!, v["g1"]!, v["b1"]!), v["wqkv"]!);
      const size = work.width / work.heads;
      const heads = Array.from({ length: work.heads }, (_, i) => {
        const part = (p: number): Value => columns(qkv, p * work.width + i * size, size);
        return attend(part(0), part(1), part(2));
      });
      const x = add(v["x"]!, matmul(beside(heads), v["wproj"]!));
      const hidden = gelu(matmul(layerNorm(x, v["g2"]!, v["b2"]!), v["wup"]!));
      return add(x, matmul(hidden, v["wdown"]!));
    }
    case "unetBlock": {
      const first = conv3x3(silu(groupNorm(v["x"]!, v["g1"]!, v["b1"]!, work.groups)), v["w1"]!);
      const second = conv3x3(silu(groupNorm(first, v["g2"]!, v["b2"]!, work.groups)), v["w2"]!);
      return add(v["x"]!, second);
    }
  }
}
