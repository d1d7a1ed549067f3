/** Elementwise kernels: one for contiguous operands, one for strides and broadcasting; the op's expression is a define. */
import { type Defines, defineKernel, internDefines } from "../kernel.ts";
import { runDefines } from "../runs.ts";
import { elementwise_contiguous, elementwise_strided } from "../wgsl.gen.ts";
import { mathFor } from "./math.ts";
import { type ElementwiseOpName, elementwiseOps } from "./ops.ts";

export { mathFor } from "./math.ts";
export { type ElementwiseOp, type ElementwiseOpName, elementwiseOps, erf } from "./ops.ts";

const OPERANDS = [
  ["a", "read"],
  ["b?BINARY", "read"],
  ["c?TERNARY", "read"],
  ["o", "read_write"],
] as const;

/** Storage types as WGSL spells them; bool is stored as u32. */
export type StorageType = "f32" | "f16" | "i32" | "u32";

/**
 * The defines of an elementwise op for operands stored as `inputs` and a result stored as `output`. Floats compute in f32.
 * `operands` is the number of tensors bound: an op of two may take its second as the scalar `s0`, `swap` puts the scalar first.
 */
export function elementwiseDefines(
  name: ElementwiseOpName,
  inputs: readonly StorageType[],
  output: StorageType,
  swap = false,
): Defines {
  return interned(`${name} ${inputs} ${output} ${swap}`, () => makeDefines(name, inputs, output, swap));
}

const interned = internDefines();

function makeDefines(
  name: ElementwiseOpName,
  inputs: readonly StorageType[],
  output: StorageType,
  swap: boolean,
): Defines {
  const op = elementwiseOps[name];
  const compute = inputs.at(-1) === "f16" ? "f32" : inputs.at(-1)!;
  const text = op.wgsl.replaceAll("$X", compute);
  const statements = text.includes("return") ? text : `return ${text};`;
  return {
    OP: name + (swap ? "_swapped" : ""),
    BINARY: inputs.length > 1,
    TERNARY: inputs.length > 2,
    A: inputs[0]!,
    B: inputs[1] ?? "f32",
    C: inputs[2] ?? "f32",
    O: output,
    X: compute,
    R: op.result === "bool" ? "bool" : compute,
    MATH: mathFor(text),
    EXPR: swap ? statements.replace(/\b[xy]\b/g, (v) => (v === "x" ? "y" : "x")) : statements,
  };
}

const variants = (Object.keys(elementwiseOps) as ElementwiseOpName[]).map((name) => {
  const operands = (["f32", "f32", "f32"] as const).slice(0, elementwiseOps[name].arity);
  return elementwiseDefines(name, operands, elementwiseOps[name].result === "bool" ? "u32" : "f32");
});

export const elementwiseContiguous = defineKernel({
  name: "elementwise_contiguous",
  source: elementwise_contiguous,
  buffers: OPERANDS,
  params: { offsets: "vec4u", count4: "u32", s0: "f32", s1: "f32" },
  workgroup: [64, 1, 1],
  variants,
});

export const elementwiseStrided = defineKernel({
  name: "elementwise_strided",
  source: elementwise_strided,
  buffers: OPERANDS,
  params: {
    shape0: "vec4u",
    shape1: "vec4u",
    stridesA0: "vec4u",
    stridesA1: "vec4u",
    stridesB0: "vec4u",
    stridesB1: "vec4u",
    stridesC0: "vec4u",
    stridesC1: "vec4u",
    offsets: "vec4u",
    inner: "vec4u",
    runs: "u32",
    rank: "u32",
    per: "u32",
    s0: "f32",
    s1: "f32",
  },
  workgroup: [64, 1, 1],
  variants: variants.flatMap((v) => [
    { ...v, ...runDefines([4]) },
    { ...v, ...runDefines([2, 2, 2, 2, 3]) },
  ]),
});

/** What one workgroup covers: elements of the contiguous kernel, runs of the strided one. */
export const PER_GROUP = { elements: 1024, runs: 256 } as const;
