/** A float64 tape small enough to check by reading: what the rows' results and gradients are compared with. */

/** A node of the tape: a dense array, its gradient, and how to hand that on. */
export class Value {
  readonly shape: readonly number[];
  readonly data: Float64Array;
  readonly grad: Float64Array;
  readonly #parents: readonly Value[];
  readonly #back: () => void;

  constructor(shape: readonly number[], data: Float64Array, parents: readonly Value[] = [], back = (): void => {}) {
    this.shape = shape;
    this.data = data;
    this.grad = new Float64Array(data.length);
    this.#parents = parents;
    this.#back = back;
  }

  /** Fills `grad` of all that this value was computed from, given the gradient of this value itself. */
  backward(gradient: ArrayLike<number>): void {
    const order: Value[] = [];
    const seen = new Set<Value>();
    const visit = (value: Value): void => {
      if (seen.has(value)) return;
      seen.add(value);
      value.#parents.forEach(visit);
      order.push(value);
    };
    visit(this);
    for (let i = 0; i < this.grad.length; i++) this.grad[i] = gradient[i]!;
    for (const value of order.reverse()) value.#back();
  }
}

export const constant = (shape: readonly number[], data: ArrayLike<number>): Value =>
  new Value(shape, Float64Array.from(data));

function make(
  shape: readonly number[],
  parents: readonly Value[],
  fill: (out: Float64Array) => void,
  back: (out: Value) => void,
): Value {
  const data = new Float64Array(shape.reduce((product, n) => product * n, 1));
  fill(data);
  const out: Value = new Value(shape, data, parents, () => back(out));
  return out;
}

/** c += a · b for row-major a [m, k] (or [k, m] when `ta`) and b [k, n] (or [n, k] when `tb`). */
function gemm(
  c: Float64Array,
  a: Float64Array,
  b: Float64Array,
  [m, k, n]: readonly [number, number, number],
  ta = false,
  tb = false,
): void {
  for (let i = 0; i < m; i++)
    for (let p = 0; p < k; p++) {
      const left = a[ta ? p * m + i : i * k + p]!;
      if (tb) for (let j = 0; j < n; j++) c[i * n + j]! += left * b[j * k + p]!;
      else for (let j = 0; j < n; j++) c[i * n + j]! += left * b[p * n + j]!;
    }
}

/** a [m, k] · b [k, n], or · bᵀ with b [n, k]. */
export function matmul(a: Value, b: Value, transB = false): Value {
  const [m, k] = a.shape as [number, number];
  const n = b.shape[transB ? 0 : 1]!;
  return make(
    [m, n],
    [a, b],
    (out) => gemm(out, a.data, b.data, [m, k, n], false, transB),
    ({ grad }) => {
      gemm(a.grad, grad, b.data, [m, n, k], false, !transB);
      if (transB) gemm(b.grad, grad, a.data, [n, m, k], true);
      else gemm(b.grad, a.data, grad, [k, m, n], true);
    },
  );
}

/** The sum of two arrays of one shape, or of x [.., n] and a row [n]. */
export function add(x: Value, y: Value): Value {
  const n = y.data.length;
  return make(
    x.shape,
    [x, y],
    (out) => out.forEach((_, i) => void (out[i] = x.data[i]! + y.data[i % n]!)),
    ({ grad }) =>
      grad.forEach((g, i) => {
        x.grad[i]! += g;
        y.grad[i % n]! += g;
      }),
  );
}

/** f elementwise; `slope` is its derivative. */
export function map(x: Value, f: (x: number) => number, slope: (x: number) => number): Value {
  return make(
    x.shape,
    [x],
    (out) => out.forEach((_, i) => void (out[i] = f(x.data[i]!))),
    ({ grad }) => grad.forEach((g, i) => void (x.grad[i]! += g * slope(x.data[i]!))),
  );
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
export const relu = (x: Value): Value =>
  map(
    x,
    (v) => Math.max(v, 0),
    (v) => Number(v > 0),
  );
export const silu = (x: Value): Value =>
  map(
    x,
    (v) => v * sigmoid(v),
    (v) => sigmoid(v) * (1 + v * (1 - sigmoid(v))),
  );
export const scale = (x: Value, factor: number): Value =>
  map(
    x,
    (v) => v * factor,
    () => factor,
  );

/** erf: Maclaurin's series below 3, 1 − erfc by its continued fraction above. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a < 3) {
    let term = a;
    let sum = a;
    for (let n = 1; n < 80; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + fraction));
}

export const geluAt = (x: number): number => 0.5 * x * (1 + erf(x / Math.SQRT2));
export const geluSlope = (x: number): number =>
  0.5 * (1 + erf(x / Math.SQRT2)) + (x * Math.exp(-0.5 * x * x)) / Math.sqrt(2 * Math.PI);
export const gelu = (x: Value): Value => map(x, geluAt, geluSlope);

/** softmax over the last axis. */
export function softmax(x: Value): Value {
  const n = x.shape.at(-1)!;
  return make(
    x.shape,
    [x],
    (out) => {
      for (let r = 0; r < out.length; r += n) {
        let top = Number.NEGATIVE_INFINITY;
        let sum = 0;
        for (let i = r; i < r + n; i++) top = Math.max(top, x.data[i]!);
        for (let i = r; i < r + n; i++) sum += out[i] = Math.exp(x.data[i]! - top);
        for (let i = r; i < r + n; i++) out[i]! /= sum;
      }
    },
    ({ data, grad }) => {
      for (let r = 0; r < data.length; r += n) {
        let dot = 0;
        for (let i = r; i < r + n; i++) dot += data[i]! * grad[i]!;
        for (let i = r; i < r + n; i++) x.grad[i]! += data[i]! * (grad[i]! - dot);
      }
    },
  );
}

/** Normalises runs of `size` elements; element i has the weight and bias at `channel(i)`. */
function normalize(x: Value, weight: Value, bias: Value, size: number, channel: (i: number) => number): Value {
  const eps = 1e-5;
  const hat = new Float64Array(x.data.length);
  const inverse: number[] = [];
  return make(
    x.shape,
    [x, weight, bias],
    (out) => {
      for (let r = 0; r < out.length; r += size) {
        let mean = 0;
        let variance = 0;
        for (let i = r; i < r + size; i++) mean += x.data[i]! / size;
        for (let i = r; i < r + size; i++) variance += (x.data[i]! - mean) ** 2 / size;
        inverse.push(1 / Math.sqrt(variance + eps));
        for (let i = r; i < r + size; i++) {
          hat[i] = (x.data[i]! - mean) * inverse.at(-1)!;
          out[i] = hat[i]! * weight.data[channel(i)]! + bias.data[channel(i)]!;
        }
      }
    },
    ({ grad }) => {
      for (let r = 0; r < grad.length; r += size) {
        let sum = 0;
        let dot = 0;
        for (let i = r; i < r + size; i++) {
          const g = grad[i]! * weight.data[channel(i)]!;
          sum += g / size;
          dot += (g * hat[i]!) / size;
          weight.grad[channel(i)]! += grad[i]! * hat[i]!;
          bias.grad[channel(i)]! += grad[i]!;
        }
        for (let i = r; i < r + size; i++)
          x.grad[i]! += inverse[r / size]! * (grad[i]! * weight.data[channel(i)]! - sum - hat[i]! * dot);
      }
    },
  );
}

export function layerNorm(x: Value, weight: Value, bias: Value): Value {
  const n = x.shape.at(-1)!;
  return normalize(x, weight, bias, n, (i) => i % n);
}

/** x [n, c, h, w]. */
export function groupNorm(x: Value, weight: Value, bias: Value, groups: number): Value {
  const [, c, h, w] = x.shape as [number, number, number, number];
  return normalize(x, weight, bias, (c / groups) * h * w, (i) => Math.floor(i / (h * w)) % c);
}

/** A 3×3 convolution with padding 1: x [n, c, h, w], weight [o, c, 3, 3]. */
export function conv3x3(x: Value, weight: Value): Value {
  const [n, c, h, w] = x.shape as [number, number, number, number];
  const o = weight.shape[0]!;
  // Calls `row` for each run of a line: `count` outputs from `to` on read `count` inputs from `from` on, by weight `at`.
  const lines = (row: (to: number, from: number, count: number, at: number) => void): void => {
    for (let b = 0; b < n; b++)
      for (let p = 0; p < o; p++)
        for (let q = 0; q < c; q++)
          for (let tap = 0; tap < 9; tap++) {
            const dy = Math.floor(tap / 3) - 1;
            const dx = (tap % 3) - 1;
            for (let y = Math.max(0, -dy); y < h - Math.max(0, dy); y++) {
              const first = Math.max(0, -dx);
              row(
                ((b * o + p) * h + y) * w + first,
                ((b * c + q) * h + y + dy) * w + first + dx,
                w - Math.abs(dx),
                (p * c + q) * 9 + tap,
              );
            }
          }
  };
  return make(
    [n, o, h, w],
    [x, weight],
    (out) =>
      lines((to, from, count, at) => {
        const factor = weight.data[at]!;
        for (let i = 0; i < count; i++) out[to + i]! += factor * x.data[from + i]!;
      }),
    ({ grad }) =>
      lines((to, from, count, at) => {
        const factor = weight.data[at]!;
        let sum = 0;
        for (let i = 0; i < count; i++) {
          x.grad[from + i]! += factor * grad[to + i]!;
          sum += grad[to + i]! * x.data[from + i]!;
        }
        weight.grad[at]! += sum;
      }),
  );
}

/** Columns [start, start + count) of a matrix. */
export function columns(x: Value, start: number, count: number): Value {
  const [rows, width] = x.shape as [number, number];
  return make(
    [rows, count],
    [x],
    (out) => out.forEach((_, i) => void (out[i] = x.data[Math.floor(i / count) * width + start + (i % count)]!)),
    ({ grad }) => grad.forEach((g, i) => void (x.grad[Math.floor(i / count) * width + start + (i % count)]! += g)),
  );
}

/** Matrices side by side. */
export function beside(parts: readonly Value[]): Value {
  const rows = parts[0]!.shape[0]!;
  const width = parts.reduce((sum, part) => sum + part.shape[1]!, 0);
  const each = (visit: (part: Value, i: number, at: number) => void): void => {
    let start = 0;
    for (const part of parts) {
      const own = part.shape[1]!;
      for (let i = 0; i < part.data.length; i++) visit(part, i, Math.floor(i / own) * width + start + (i % own));
      start += own;
    }
  };
  return make(
    [rows, width],
    parts,
    (out) => each((part, i, at) => void (out[at] = part.data[i]!)),
    ({ grad }) => each((part, i, at) => void (part.grad[i]! += grad[at]!)),
  );
}

/** softmax(q·kᵀ/√size)·v of one head. */
export function attend(q: Value, k: Value, v: Value): Value {
  return matmul(softmax(scale(matmul(q, k, true), 1 / Math.sqrt(q.shape[1]!))), v);
}

/** The mean over rows of −log softmax(x)[class]. */
export function crossEntropy(x: Value, classes: ArrayLike<number>): Value {
  const [rows, n] = x.shape as [number, number];
  const p = softmax(constant(x.shape, x.data)).data;
  return make(
    [],
    [x],
    (out) => {
      for (let r = 0; r < rows; r++) out[0]! -= Math.log(p[r * n + classes[r]!]!) / rows;
    },
    ({ grad }) => {
      for (let i = 0; i < p.length; i++)
        x.grad[i]! += (grad[0]! * (p[i]! - Number(i % n === classes[Math.floor(i / n)]))) / rows;
    },
  );
}
