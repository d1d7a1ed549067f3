/** The closed set of ops: each one's attributes and forward function, and the seam by which upper floors see what was computed. */
import { type AttentionAttrs, attentionForward } from "./ops/attention.ts";
import { type ConvAttrs, convForward } from "./ops/conv.ts";
import { type CopyAttrs, copyForward } from "./ops/copy.ts";
import { type ElementwiseAttrs, elementwiseForward } from "./ops/elementwise.ts";
import { type EmbeddingAttrs, embeddingForward } from "./ops/embedding.ts";
import { type MatmulAttrs, matmulForward } from "./ops/matmul.ts";
import { type NormAttrs, normForward } from "./ops/norm.ts";
import { type ReduceAttrs, reduceForward } from "./ops/reduce.ts";
import { type ResampleAttrs, resampleForward } from "./ops/resample.ts";
import { type SoftmaxAttrs, softmaxForward } from "./ops/softmax.ts";
import { type ViewAttrs, viewForward } from "./ops/view.ts";
import { closeScope, openScope } from "./scope.ts";
import type { Tensor } from "./tensor.ts";

/** Attributes of every op; what changes from step to step is never an attribute but tensor data. */
export interface OpAttrs
  extends AttentionAttrs,
    ConvAttrs,
    CopyAttrs,
    ElementwiseAttrs,
    EmbeddingAttrs,
    MatmulAttrs,
    NormAttrs,
    ReduceAttrs,
    ResampleAttrs,
    SoftmaxAttrs,
    ViewAttrs {}

export type Op = keyof OpAttrs;

/** Computes an op. The first tensor is its result, further ones are what its backward rule wants to save (statistics, log-sum-exp). */
export type Forward<K extends Op> = (inputs: readonly Tensor[], attrs: OpAttrs[K]) => Tensor | readonly Tensor[];

export type ForwardTable<A> = {
  readonly [K in keyof A]: (inputs: readonly Tensor[], attrs: A[K]) => Tensor | readonly Tensor[];
};

// Built at the first op, because the families' modules and the Tensor class import each other.
let table: ForwardTable<OpAttrs> | undefined;
function forwardTable(): ForwardTable<OpAttrs> {
  table ??= {
    ...attentionForward,
    ...convForward,
    ...copyForward,
    ...elementwiseForward,
    ...embeddingForward,
    ...matmulForward,
    ...normForward,
    ...reduceForward,
    ...resampleForward,
    ...softmaxForward,
    ...viewForward,
  };
  return table;
}

/** All ops by name. */
export function opNames(): Op[] {
  return Object.keys(forwardTable()) as Op[];
}

/** Called after each op with its operands and all its outputs. The autograd floor records its tape here. */
export type Recorder = <K extends Op>(
  op: K,
  inputs: readonly Tensor[],
  attrs: OpAttrs[K],
  outputs: readonly Tensor[],
) => void;

let recorder: Recorder | null = null;

/** Sets who sees the ops, or null; returns who did before. */
export function setRecorder(next: Recorder | null): Recorder | null {
  const before = recorder;
  recorder = next;
  return before;
}

/** Computes an op inside a scope of its own, so that the temporaries of its forward function end with it, and shows it to the recorder. */
function compute<K extends Op>(op: K, inputs: readonly Tensor[], attrs: OpAttrs[K]): readonly Tensor[] {
  const seen = recorder;
  // What a forward function calls inside is part of the op, not a record of its own.
  recorder = null;
  try {
    let outputs: readonly Tensor[] = [];
    const inner = openScope();
    try {
      const made = (forwardTable()[op] as Forward<K>)(inputs, attrs);
      outputs = Array.isArray(made) ? (made as readonly Tensor[]) : [made as Tensor];
    } finally {
      closeScope(inner, outputs);
    }
    if (seen) seen(op, inputs, attrs, outputs);
    return outputs;
  } finally {
    recorder = seen;
  }
}

/** Computes `op`. All public op functions and methods come through here. */
export function apply<K extends Op>(op: K, inputs: readonly Tensor[], attrs: OpAttrs[K]): Tensor {
  const outputs = compute(op, inputs, attrs);
  for (let i = 1; i < outputs.length; i++) outputs[i]!.dispose();
  return outputs[0]!;
}

/** Like {@link apply}, for ops whose further outputs the caller wants; these carry no history. */
export const applyAll: <K extends Op>(op: K, inputs: readonly Tensor[], attrs: OpAttrs[K]) => readonly Tensor[] =
  compute;
