/**
 * Weights that follow from their names: the same numbers here and in `reference/golden/seeded.py`, so that models of any size are compared with PyTorch
 * without shipping weights.
 */
import { noGrad } from "@refl/autograd";
import { type Device, numel, rand, type Shape, scope, toUniform } from "@refl/tensor";
import { weightStream } from "./init.ts";
import type { Module } from "./module.ts";

/** A weight's elements are offset + scale · (u − ½) with u uniform in [0, 1), each operation rounded to f32. */
export interface SeededRule {
  readonly offset: number;
  readonly scale: number;
}

const TABLE = /(_embeddings?\.weight|pos_embed|cls_token)$/;

/**
 * Scales that keep activations near 1 whatever the depth: norms multiply by 0.75…1.25, biases lie within ±0.125, tables within ±0.5, scalars within 0.375…0.625,
 * and matrices and kernels have the variance 1 / fan-in.
 */
export function seededRule(key: string, shape: Shape): SeededRule {
  if (shape.length === 0) return { offset: 0.5, scale: 0.25 };
  if (shape.length === 1) return key.endsWith("weight") ? { offset: 1, scale: 0.5 } : { offset: 0, scale: 0.25 };
  if (shape.length < 4 && TABLE.test(key)) return { offset: 0, scale: 1 };
  return { offset: 0, scale: Math.fround(2 * Math.sqrt(3 / numel(shape.slice(1)))) };
}

/** The weight `key` under a seed, in row-major order: element i takes word i of the Philox stream (seed, FNV-1a of the key). `rule`: default the key's. */
export function seededWeight(key: string, shape: Shape, seed = 0, rule = seededRule(key, shape)): Float32Array {
  const { offset, scale } = rule;
  const stream = weightStream(seed, key);
  return Float32Array.from({ length: numel(shape) }, (_, i) => {
    const scaled = Math.fround((toUniform(stream.word(i)) - 0.5) * scale);
    return offset ? scaled + offset : scaled;
  });
}

/** Mean 0 and variance 1: for inputs and cotangents of models whose weights are seeded. */
export const UNIT_RULE: SeededRule = { offset: 0, scale: Math.fround(2 * Math.sqrt(3)) };

/**
 * Fills all weights of a model, computed on the device; bit for bit those of {@link seededWeight}. A model that is part of a larger one takes that one's
 * weights when `prefix` is its path there. Returns the model.
 */
export function fillSeeded<Model extends Module<never[], unknown>>(
  model: Model,
  device: Device,
  { seed = 0, prefix = "" } = {},
): Model {
  for (const [name, slot] of model.namedSlots()) {
    const key = prefix + name;
    const { offset, scale } = seededRule(key, slot.shape);
    const stream = weightStream(seed, key);
    let at = 0;
    for (const part of slot.filled ? slot.parts : slot.allocate(device, key)) {
      noGrad(() =>
        scope(() => {
          // Three dispatches, so that no adapter may fuse a product with the sum after it.
          const scaled = rand(device, part.shape, stream, { offset: at }).sub(0.5).mul(scale);
          part.copy_(offset ? scaled.add(offset) : scaled);
        }),
      );
      at += part.numel;
    }
  }
  return model;
}
