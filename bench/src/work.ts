/** What a row computes: one closed union that every engine reads, with the shapes of its inputs, its arithmetic and its traffic. */
import { philox4x32 } from "@refl/tensor";

/** `forward`: the result. `backward`: gradients alone. `both`: the result and all gradients, as a training step wants them. */
export type Part = "forward" | "backward" | "both";

/** a [batch, m, k] · b [batch, k, n]; a transposed operand is stored with its last two axes exchanged. `backward` gives dA and dB. */
export interface MatmulWork {
  readonly op: "matmul";
  readonly part: "forward" | "backward";
  readonly batch: number;
  readonly m: number;
  readonly k: number;
  readonly n: number;
  readonly transA?: boolean;
  readonly transB?: boolean;
}

/** A convolution of [n, c, h, h] with [o, c, k, k]; `padding` on all sides. */
export interface ConvWork {
  readonly op: "conv";
  readonly part: "forward" | "dX" | "dW";
  readonly n: number;
  readonly c: number;
  readonly h: number;
  readonly o: number;
  readonly k: number;
  readonly stride: number;
  readonly padding: number;
}

export type PointWork =
  | { readonly op: "softmax"; readonly part: "forward" | "both"; readonly rows: number; readonly cols: number }
  | { readonly op: "layerNorm"; readonly part: "forward" | "both"; readonly rows: number; readonly cols: number }
  | {
      readonly op: "groupNorm";
      readonly part: "forward" | "both";
      readonly n: number;
      readonly c: number;
      readonly h: number;
      readonly groups: number;
      readonly silu: boolean;
    }
  | { readonly op: "gelu"; readonly part: "forward" | "both"; readonly size: number }
  /** q, k, v [1, heads, tokens, size]. */
  | {
      readonly op: "attention";
      readonly part: "forward" | "both";
      readonly heads: number;
      readonly tokens: number;
      readonly size: number;
    }
  | {
      readonly op: "embedding";
      readonly part: "forward" | "both";
      readonly count: number;
      readonly width: number;
      readonly ids: number;
    }
  /** [n, c, h, h] to [n, c, size, size]. */
  | {
      readonly op: "bicubic";
      readonly part: "forward";
      readonly n: number;
      readonly c: number;
      readonly h: number;
      readonly size: number;
    }
  | {
      readonly op: "upsample";
      readonly part: "forward" | "both";
      readonly n: number;
      readonly c: number;
      readonly h: number;
    }
  /** The sum of [rows, cols] over `axis`, or over all. */
  | {
      readonly op: "sum";
      readonly part: "forward";
      readonly rows: number;
      readonly cols: number;
      readonly axis: 0 | 1 | "all";
    };

export type StepWork =
  /** Linear-ReLU-Linear-ReLU-Linear, cross-entropy and Adam at rate 1e-3: one training step. */
  | { readonly op: "mlp"; readonly part: "both"; readonly batch: number; readonly widths: readonly number[] }
  /** A pre-norm transformer block, its output and the gradients of all weights and of the input. */
  | {
      readonly op: "vitBlock";
      readonly part: "both";
      readonly tokens: number;
      readonly width: number;
      readonly heads: number;
    }
  /** GroupNorm-SiLU-Conv twice and the residual, its output and all gradients. */
  | {
      readonly op: "unetBlock";
      readonly part: "both";
      readonly n: number;
      readonly c: number;
      readonly h: number;
      readonly groups: number;
    }
  /** One AdamW update of `count` parameters. */
  | { readonly op: "adamw"; readonly part: "forward"; readonly count: number };

export type Work = MatmulWork | ConvWork | PointWork | StepWork;

/** A host array in row-major order: f32, or i32 for ids. */
export interface HostArray {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array;
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((product, n) => product * n, 1);

/** Output height of a convolution. */
export const convOut = ({ h, k, stride, padding }: ConvWork): number => Math.floor((h + 2 * padding - k) / stride) + 1;

/** The shapes of a work's inputs by name, in the order in which the engines take them; `dy` is the result's gradient. */
export function inputShapes(work: Work): Record<string, readonly number[]> {
  switch (work.op) {
    case "matmul": {
      const { batch, m, k, n } = work;
      const lead = batch > 1 ? [batch] : [];
      const a = work.transA ? [...lead, k, m] : [...lead, m, k];
      const b = work.transB ? [...lead, n, k] : [...lead, k, n];
      return work.part === "forward" ? { a, b } : { a, b, dy: [...lead, m, n] };
    }
    case "conv": {
      const { n, c, h, o, k } = work;
      const x = [n, c, h, h];
      const w = [o, c, k, k];
      const out = convOut(work);
      return work.part === "forward" ? { x, w } : { x, w, dy: [n, o, out, out] };
    }
    case "softmax":
      return withGradient(work.part, { x: [work.rows, work.cols] }, [work.rows, work.cols]);
    case "layerNorm": {
      const { rows, cols } = work;
      return withGradient(work.part, { x: [rows, cols], weight: [cols], bias: [cols] }, [rows, cols]);
    }
    case "groupNorm": {
      const { n, c, h } = work;
      return withGradient(work.part, { x: [n, c, h, h], weight: [c], bias: [c] }, [n, c, h, h]);
    }
    case "gelu":
      return withGradient(work.part, { x: [work.size] }, [work.size]);
    case "attention": {
      const shape = [1, work.heads, work.tokens, work.size];
      return withGradient(work.part, { q: shape, k: shape, v: shape }, shape);
    }
    case "embedding":
      return withGradient(work.part, { table: [work.count, work.width], ids: [work.ids] }, [work.ids, work.width]);
    case "bicubic":
      return { x: [work.n, work.c, work.h, work.h] };
    case "upsample": {
      const { n, c, h } = work;
      return withGradient(work.part, { x: [n, c, h, h] }, [n, c, 2 * h, 2 * h]);
    }
    case "sum":
      return { x: [work.rows, work.cols] };
    case "mlp": {
      const shapes: Record<string, readonly number[]> = { x: [work.batch, work.widths[0]!], classes: [work.batch] };
      for (let i = 1; i < work.widths.length; i++) {
        shapes[`w${i}`] = [work.widths[i - 1]!, work.widths[i]!];
        shapes[`b${i}`] = [work.widths[i]!];
      }
      return shapes;
    }
    case "vitBlock": {
      const { tokens, width } = work;
      return {
        x: [tokens, width],
        g1: [width],
        b1: [width],
        wqkv: [width, 3 * width],
        wproj: [width, width],
        g2: [width],
        b2: [width],
        wup: [width, 4 * width],
        wdown: [4 * width, width],
        dy: [tokens, width],
      };
    }
    case "unetBlock": {
      const { n, c, h } = work;
      const x = [n, c, h, h];
      const w = [c, c, 3, 3];
      return { x, g1: [c], b1: [c], w1: w, g2: [c], b2: [c], w2: w, dy: x };
    }
    case "adamw":
      return { w: [work.count], g: [work.count], m: [work.count], v: [work.count] };
  }
}

function withGradient(
  part: Part,
  inputs: Record<string, readonly number[]>,
  result: readonly number[],
): Record<string, readonly number[]> {
  return part === "forward" ? inputs : { ...inputs, dy: result };
}

/** How far an input's values reach: weights are scaled by their fan-in so that results stay near 1. */
function reach(work: Work, name: string, shape: readonly number[]): [low: number, high: number] {
  if (/^(weight|g\d)$/.test(name)) return [0.5, 1.5];
  if (work.op === "adamw") return name === "v" ? [0, 1e-3] : name === "w" ? [-1, 1] : [-1e-2, 1e-2];
  if (work.op === "conv" && name === "w") return fan(sizeOf(shape) / shape[0]!);
  if (work.op === "unetBlock" && /^w\d$/.test(name)) return fan(sizeOf(shape) / shape[0]!);
  if ((work.op === "mlp" || work.op === "vitBlock") && name.startsWith("w")) return fan(shape[0]!);
  return [-1, 1];
}

const fan = (inputs: number): [number, number] => [-1 / Math.sqrt(inputs), 1 / Math.sqrt(inputs)];

/** The inputs' values: Philox's first words over the element's index, the same for every engine and run. */
export function drawInputs(work: Work): Record<string, HostArray> {
  const arrays: Record<string, HostArray> = {};
  let stream = 0;
  for (const [name, shape] of Object.entries(inputShapes(work))) {
    const size = sizeOf(shape);
    stream++;
    if (name === "ids" || name === "classes") {
      const bound = work.op === "embedding" ? work.count : work.op === "mlp" ? work.widths.at(-1)! : 1;
      const data = new Int32Array(size);
      fill(stream, size, (i, unit) => {
        data[i] = Math.floor(unit * bound);
      });
      arrays[name] = { shape, data };
      continue;
    }
    const [low, high] = reach(work, name, shape);
    const data = new Float32Array(size);
    fill(stream, size, (i, unit) => {
      data[i] = low + (high - low) * unit;
    });
    arrays[name] = { shape, data };
  }
  return arrays;
}

/** Values beyond this repeat: drawing tens of millions of words would take longer than the row. */
const PERIOD = 1 << 18;

function fill(stream: number, size: number, set: (i: number, unit: number) => void): void {
  const period = Math.min(size, PERIOD - 1);
  const units = new Float64Array(period);
  for (let i = 0; i < period; i += 4) {
    const words = philox4x32([i, 0, stream, 0], [20, 26]);
    for (let j = 0; j < 4 && i + j < period; j++) units[i + j] = (words[j]! >>> 8) / 2 ** 24;
  }
  for (let i = 0; i < size; i++) set(i, units[i % period]!);
}

/** Floating-point operations of a work, a multiply-add being two; only those of products and convolutions, 0 where memory bounds. */
export function flops(work: Work): number {
  switch (work.op) {
    case "matmul":
      return 2 * work.batch * work.m * work.n * work.k * (work.part === "backward" ? 2 : 1);
    case "conv":
      return 2 * work.n * work.o * convOut(work) ** 2 * work.c * work.k ** 2;
    case "attention":
      return 4 * work.heads * work.tokens ** 2 * work.size * (work.part === "both" ? 3.5 : 1);
    case "mlp": {
      let sum = 0;
      // The first layer's input needs no gradient.
      for (let i = 1; i < work.widths.length; i++)
        sum += 2 * work.batch * work.widths[i - 1]! * work.widths[i]! * (i === 1 ? 2 : 3);
      return sum;
    }
    case "vitBlock": {
      const products = 2 * work.tokens * 12 * work.width ** 2 * 3;
      return products + 4 * work.tokens ** 2 * work.width * 3.5;
    }
    case "unetBlock":
      return 2 * 2 * work.n * work.h ** 2 * work.c ** 2 * 9 * 3;
    default:
      return 0;
  }
}

/** The shapes of what a work computes, by name: `y` the result, `d…` gradients; for an optimiser its new state. */
export function outputShapes(work: Work): Record<string, readonly number[]> {
  const inputs = inputShapes(work);
  const outputs: Record<string, readonly number[]> = {};
  if (work.op === "adamw") return { w: inputs["w"]!, m: inputs["m"]!, v: inputs["v"]! };
  if (work.op === "mlp") return { loss: [] };
  if (work.op === "conv" && work.part !== "forward")
    return work.part === "dX" ? { dx: inputs["x"]! } : { dw: inputs["w"]! };
  if (work.part !== "backward") outputs["y"] = resultShape(work, inputs);
  if (work.part === "both" || work.part === "backward")
    for (const [name, shape] of Object.entries(inputs))
      if (name !== "dy" && name !== "ids") outputs[`d${name}`] = shape;
  return outputs;
}

function resultShape(work: Work, inputs: Record<string, readonly number[]>): readonly number[] {
  switch (work.op) {
    case "matmul":
      return [...(work.batch > 1 ? [work.batch] : []), work.m, work.n];
    case "conv":
      return [work.n, work.o, convOut(work), convOut(work)];
    case "embedding":
      return [work.ids, work.width];
    case "bicubic":
      return [work.n, work.c, work.size, work.size];
    case "upsample":
      return [work.n, work.c, 2 * work.h, 2 * work.h];
    case "sum":
      return work.axis === "all" ? [] : [work.axis === 0 ? work.cols : work.rows];
    case "attention":
      return inputs["q"]!;
    default:
      return inputs["x"]!;
  }
}

/** Bytes that must move at the least: every input once, every output once. */
export function bytes(work: Work): number {
  const shapes = [...Object.values(inputShapes(work)), ...Object.values(outputShapes(work))];
  return 4 * shapes.reduce((sum, shape) => sum + sizeOf(shape), 0);
}
