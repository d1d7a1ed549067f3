/** Checks a short program of ops, its values and its gradients, against the float64 references, on operands of any memory layout. */
import { type NdArray, references } from "@refl/kernels-wgsl/testing";
import {
  apply,
  contiguousStrides,
  type Device,
  type DType,
  isFloat,
  type Op,
  type OpAttrs,
  type Shape,
  scope,
  type Tensor,
  tensor,
} from "@refl/tensor";
import fc from "fast-check";
import { expect } from "vitest";
import { testDevice } from "../../tensor/test/device.ts";
import { relativeError } from "../../tensor/test/operands.ts";
import { grad, requireGrad } from "../src/index.ts";

/** How a view lies in a larger tensor: the order of its axes there, and each axis's gaps. */
export interface Arrangement {
  readonly order: readonly number[];
  readonly axes: readonly { readonly before: number; readonly step: number; readonly after: number }[];
}

export interface Operand {
  readonly shape: Shape;
  readonly arrangement: Arrangement;
  readonly dtype?: DType;
  /** Value i, from a number drawn for it in [0, 1). Default: normal. */
  readonly values?: (u: number, i: number) => number;
}

export interface Step {
  readonly op: string;
  readonly attrs: unknown;
}

/** The first step takes all operands, each further one the result before it. */
export interface Program {
  readonly operands: readonly Operand[];
  readonly steps: readonly Step[];
  readonly tolerance?: number;
}

export const tiers = fc.constantFrom("full" as const, "portable" as const);

export const sizes = (max: number, min = 1): fc.Arbitrary<number> => fc.integer({ min, max });

/** Any strided view of a shape: axes in any order in memory, with a start, a step and a rest. Shrinks to the dense layout. */
export function arrangementOf(rank: number): fc.Arbitrary<Arrangement> {
  const gap = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: sizes(3) });
  const axis = fc.record({ before: gap, step: fc.constantFrom(1, 1, 1, 2, 3), after: gap });
  const axes = fc.array(axis, { minLength: rank, maxLength: rank });
  const dense = { before: 0, step: 1, after: 0 };
  const natural = Array.from({ length: rank }, (_, i) => i);
  return fc.oneof(
    fc.constant({ order: natural, axes: natural.map(() => dense) }),
    fc.record({ order: fc.shuffledSubarray(natural, { minLength: rank }), axes }),
  );
}

/** A float operand of a shape, in any layout. */
export const operandOf = (shape: Shape, more: Partial<Operand> = {}): fc.Arbitrary<Operand> =>
  arrangementOf(shape.length).map((arrangement) => ({ shape, arrangement, ...more }));

/** An operand for each shape. */
export const operandsOf = (shapes: readonly Shape[]): fc.Arbitrary<Operand[]> =>
  fc.tuple(...shapes.map((shape) => operandOf(shape)));

/** A number in (0, 1) from two integers (the finaliser of MurmurHash3): drawn values depend on the seed and their position alone. */
function uniform(seed: number, index: number): number {
  let h = Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca77);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (((h ^ (h >>> 16)) >>> 0) + 0.5) / 2 ** 32;
}

function draw({ shape, values }: Operand, seed: number): NdArray {
  const count = shape.reduce((a, b) => a * b, 1);
  const normal = (u: number, i: number): number =>
    Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * uniform(seed + 7919, i));
  const data = Float64Array.from({ length: count }, (_, i) => Math.fround((values ?? normal)(uniform(seed, i), i)));
  return { shape, data };
}

/** Values as a view that lies in memory as arranged. */
function place(device: Device, { shape, arrangement, dtype = "f32" }: Operand, values: NdArray): Tensor {
  const { order, axes } = arrangement;
  const extent = shape.map((n, i) => axes[i]!.before + Math.max(0, (n - 1) * axes[i]!.step + 1) + axes[i]!.after);
  const outer = order.map((axis) => extent[axis]!);
  const outerStrides = contiguousStrides(outer);
  const strides = shape.map((_, axis) => outerStrides[order.indexOf(axis)]!);
  const memory = new Float64Array(outer.reduce((a, b) => a * b, 1)).fill(9);
  const own = contiguousStrides(shape);
  values.data.forEach((value, flat) => {
    let at = 0;
    shape.forEach((n, i) => {
      const index = Math.floor(flat / own[i]!) % n;
      at += (axes[i]!.before + index * axes[i]!.step) * strides[i]!;
    });
    memory[at] = value;
  });
  let view = tensor(device, memory, outer, dtype).permute(...shape.map((_, axis) => order.indexOf(axis)));
  shape.forEach((n, i) => {
    const { before, step } = axes[i]!;
    view = view.slice(i, before, n === 0 ? before : before + (n - 1) * step + 1, step);
  });
  return view;
}

function reference({ steps }: Program, operands: readonly NdArray[]): NdArray {
  let current: readonly NdArray[] = operands;
  for (const { op, attrs } of steps) current = [references[op]!(current, attrs as never)];
  return current[0]!;
}

function compute({ steps }: Program, operands: readonly Tensor[]): Tensor {
  let current: readonly Tensor[] = operands;
  for (const { op, attrs } of steps) current = [apply(op as Op, current, attrs as OpAttrs[Op])];
  return current[0]!;
}

/** Elements of one operand whose derivative is compared: all of a small one, else so many spread over it. */
const MOST_DERIVATIVES = 40;

interface Derivative {
  /** d Σ w·y / dx. */
  readonly value: number;
  /** Σ |w · dy/dx|: the size of what is added up for it, which an f32 sum's error is in proportion to. */
  readonly size: number;
}

/** The derivative by element `i` of operand `k`, by central differences of the references in float64. */
function derivative(
  program: Program,
  operands: readonly NdArray[],
  k: number,
  cotangent: Float64Array,
  i: number,
): Derivative {
  const { data } = operands[k]!;
  const x = data[i]!;
  const h = 1e-5 * Math.max(1, Math.abs(x));
  data[i] = x + h;
  const up = reference(program, operands).data;
  data[i] = x - h;
  const down = reference(program, operands).data;
  data[i] = x;
  const terms = cotangent.map((w, j) => (w * (up[j]! - down[j]!)) / (2 * h));
  return { value: terms.reduce((a, b) => a + b, 0), size: terms.reduce((a, b) => a + Math.abs(b), 0) };
}

/** Results and gradients below this size are compared absolutely: zeros of theory (a shift before a softmax) come out as rounding errors. */
const SMALL = 0.1;

const differentiable = (operand: Operand): boolean => isFloat(operand.dtype ?? "f32");

/** Computes the program on a device and compares shape, values and gradients. */
async function check(program: Program, tier: "full" | "portable", seed: number): Promise<void> {
  const device = await testDevice(tier);
  const tolerance = program.tolerance ?? 1e-5;
  const operands = program.operands.map((operand, i) => draw(operand, seed + 31 * i));
  const expected = reference(program, operands);
  const cotangent = draw({ shape: expected.shape, arrangement: { order: [], axes: [] } }, seed + 991);
  const wanted = program.operands.flatMap((operand, i) => (differentiable(operand) ? [i] : []));
  const { value, gradients } = scope(() => {
    const inputs = program.operands.map((operand, i) => place(device, operand, operands[i]!));
    const leaves = wanted.map((i) => requireGrad(inputs[i]!));
    const output = compute(program, inputs);
    const gradient = tensor(device, cotangent.data, output.shape, output.dtype);
    return { value: output.detach(), gradients: grad(output, leaves, { gradient }) };
  });
  expect(value.shape, "shape").toEqual(expected.shape);
  const values = relativeError([...(await value.data()), SMALL], [...expected.data, SMALL]);
  expect(values, "values").toBeLessThanOrEqual(tolerance);
  value.dispose();
  for (const [order, k] of wanted.entries()) {
    const found = await gradients[order]!.data();
    gradients[order]!.dispose();
    expect(found.length, `elements of gradient ${k}`).toBe(operands[k]!.data.length);
    const stride = Math.max(1, Math.ceil(found.length / MOST_DERIVATIVES));
    const at = Array.from({ length: Math.ceil(found.length / stride) }, (_, i) => i * stride);
    const numeric = at.map((i) => derivative(program, operands, k, cotangent.data, i));
    const size = numeric.reduce((most, d) => Math.max(most, d.size), SMALL);
    const error = relativeError([...at.map((i) => found[i]!), size], [...numeric.map((d) => d.value), size]);
    expect(error, `gradient of operand ${k}`).toBeLessThanOrEqual(tolerance);
  }
}

/** Runs the property on `runs` programs; a failure shows the smallest one found, with the seed that repeats it. */
export async function holds(programs: fc.Arbitrary<Program>, runs = 20): Promise<void> {
  const property = fc.asyncProperty(programs, tiers, fc.nat(1000), check);
  await fc.assert(property, { numRuns: runs, seed: 20 });
}
