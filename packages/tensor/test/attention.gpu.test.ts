/** Attention of large heads, forward and all gradients, against float64 on the full and the portable tier, and which kernels which sizes get. */

import { drawOperand, type NdArray } from "@refl/kernels-wgsl/testing";
import { describe, expect, test } from "vitest";
import {
  applyAll,
  type Device,
  f16ToNumber,
  numberToF16,
  scaledDotProductAttention,
  scope,
  type Tensor,
  tensor,
} from "../src/index.ts";
import { testDevice } from "./device.ts";
import { relativeError } from "./operands.ts";

interface Case {
  /** Batch, heads, queries, keys, size of q and k, size of v. */
  readonly sizes: readonly [number, number, number, number, number, number];
  readonly causal?: true;
  /** Hides some keys, and of item 0 all. */
  readonly masked?: true;
  /** q, k and v as views of [B, T, H, D], as projections leave them. */
  readonly tokenMajor?: true;
  readonly type?: "f16";
}

/** Sizes that share their kernels, of which a software adapter compiles each for seconds: heads of 48 to 64 fill two vec4s of eight lanes. */
const cases: readonly Case[] = [
  { sizes: [1, 2, 64, 64, 64, 48] },
  { sizes: [2, 2, 37, 45, 64, 48], masked: true, tokenMajor: true },
  { sizes: [2, 1, 50, 35, 50, 62], causal: true, masked: true },
  { sizes: [1, 1, 70, 70, 64, 48], causal: true },
  // 9,000 queries leave a window of scores' gradients 96 keys: two windows, of which the second is not full.
  { sizes: [1, 1, 9000, 130, 64, 48] },
  { sizes: [1, 1, 9001, 130, 48, 72], type: "f16" },
];

/** On the portable tier, whose kernels have no windows and grow with the head. */
const portableCases: readonly Case[] = [
  { sizes: [1, 2, 64, 64, 32, 24] },
  { sizes: [2, 2, 37, 45, 32, 24], masked: true, tokenMajor: true },
  { sizes: [2, 1, 50, 35, 30, 22], causal: true, masked: true },
  { sizes: [1, 1, 900, 130, 72, 68] },
];

interface Arrays {
  readonly operands: readonly NdArray[];
  readonly gradient: NdArray;
  readonly mask: NdArray | undefined;
}

function draw({ sizes: [batch, heads, queries, keys, size, valueSize], masked, type }: Case): Arrays {
  const drawn = (shape: number[], seed: number): NdArray => {
    const array = drawOperand({ shape }, seed);
    return type ? { ...array, data: array.data.map((x) => f16ToNumber(numberToF16(x))) } : array;
  };
  const mask = masked && {
    shape: [batch, keys],
    data: Float64Array.from({ length: batch * keys }, (_, i) => Number(i >= keys * (batch > 1 ? 1 : 0) && i % 3 !== 1)),
  };
  return {
    operands: [
      drawn([batch, heads, queries, size], 1),
      drawn([batch, heads, keys, size], 2),
      drawn([batch, heads, keys, valueSize], 3),
    ],
    gradient: drawn([batch, heads, queries, valueSize], 4),
    mask: mask || undefined,
  };
}

/** Result, dq, dk and dv in float64, scores, probabilities and all. */
function expected({ operands, gradient, mask }: Arrays, causal: boolean, scale: number): Float64Array[] {
  const [q, k, v] = operands as [NdArray, NdArray, NdArray];
  const [batch, heads, queries, size] = q.shape as [number, number, number, number];
  const [keys, valueSize] = [k.shape[2]!, v.shape[3]!];
  const made = [gradient, q, k, v].map((x) => new Float64Array(x.data.length));
  const [out, dq, dk, dv] = made as [Float64Array, Float64Array, Float64Array, Float64Array];
  const dot = (a: Float64Array, i: number, b: Float64Array, j: number, n: number): number => {
    let sum = 0;
    for (let c = 0; c < n; c++) sum += a[i + c]! * b[j + c]!;
    return sum;
  };
  for (let pair = 0; pair < batch * heads; pair++) {
    for (let i = 0; i < queries; i++) {
      const atQ = (pair * queries + i) * size;
      const atG = (pair * queries + i) * valueSize;
      const shown = Array.from({ length: keys }, (_, j) => j).filter(
        (j) => !(causal && j > i) && mask?.data[Math.floor(pair / heads) * keys + j] !== 0,
      );
      const scores = shown.map((j) => scale * dot(q.data, atQ, k.data, (pair * keys + j) * size, size));
      const top = scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
      const total = scores.reduce((sum, s) => sum + Math.exp(s - top), 0);
      const probabilities = scores.map((s) => Math.exp(s - top) / total);
      shown.forEach((j, n) => {
        const atV = (pair * keys + j) * valueSize;
        for (let c = 0; c < valueSize; c++) out[atG + c]! += probabilities[n]! * v.data[atV + c]!;
      });
      const delta = dot(gradient.data, atG, out, atG, valueSize);
      shown.forEach((j, n) => {
        const atK = (pair * keys + j) * size;
        const atV = (pair * keys + j) * valueSize;
        const probability = probabilities[n]!;
        const ds = scale * probability * (dot(gradient.data, atG, v.data, atV, valueSize) - delta);
        for (let c = 0; c < size; c++) {
          dq[atQ + c]! += ds * k.data[atK + c]!;
          dk[atK + c]! += ds * q.data[atQ + c]!;
        }
        for (let c = 0; c < valueSize; c++) dv[atV + c]! += probability * gradient.data[atG + c]!;
      });
    }
  }
  return made;
}

function place(device: Device, { shape, data }: NdArray, { tokenMajor, type }: Case): Tensor {
  const dense = tensor(device, data, [...shape], type ?? "f32");
  return tokenMajor ? dense.permute(0, 2, 1, 3).clone().permute(0, 2, 1, 3) : dense;
}

/** Result, dq, dk and dv on a device. */
async function computed(device: Device, c: Case, arrays: Arrays, attrs: { causal: boolean; scale: number }) {
  const results = scope(() => {
    const [q, k, v] = arrays.operands.map((x) => place(device, x, c)) as [Tensor, Tensor, Tensor];
    const mask = arrays.mask ? [tensor(device, arrays.mask.data, [...arrays.mask.shape], "bool")] : [];
    const [out, lse] = applyAll("scaledDotProductAttention", [q, k, v, ...mask], attrs) as [Tensor, Tensor];
    const g = place(device, arrays.gradient, c);
    return [out, ...applyAll("scaledDotProductAttentionBackward", [g, q, k, v, out, lse, ...mask], attrs)];
  });
  const values = await Promise.all(results.map((t) => t.data()));
  for (const t of results) t.dispose();
  return values;
}

const names = ["result", "dq", "dk", "dv"] as const;

describe.each([
  ["full", cases],
  ["portable", portableCases],
] as const)("%s tier", (tier, rows) => {
  test.for(rows.map((c) => [JSON.stringify(c), c] as const))("%s", async ([, c]) => {
    const device = await testDevice(tier);
    if (c.type && !device.capabilities.f16) return;
    const before = device.memory().storages;
    const arrays = draw(c);
    const attrs = { causal: c.causal ?? false, scale: 1 / Math.sqrt(c.sizes[4]) };
    const wanted = expected(arrays, attrs.causal, attrs.scale);
    const found = await computed(device, c, arrays, attrs);
    names.forEach((name, i) => {
      // A result rounded to f16 is off by 2⁻¹¹ of its size.
      expect(relativeError(found[i]!, wanted[i]!), name).toBeLessThanOrEqual(c.type ? 1e-3 : 1e-5);
    });
    const again = await computed(device, c, arrays, attrs);
    // Compared by elements, as `toEqual` would, 576,000 of them take a second.
    again.forEach((values, i) => {
      expect(
        values.findIndex((x, n) => !Object.is(x, found[i]![n])),
        names[i]!,
      ).toBe(-1);
    });
    expect(device.memory().storages).toBe(before);
  });
});

test("a software adapter with subgroups takes matrix products for heads of 48 to 128 and 16 tokens or more", async () => {
  const device = await testDevice();
  const { adapter, capabilities } = device;
  const products = adapter.software && capabilities.subgroupSize >= 4 && capabilities.subgroupSize <= 16;
  const kernel = (tokens: number, size: number): string => {
    const seen: string[] = [];
    const own = device.run;
    device.run = ({ name }) => seen.push(name);
    try {
      scope(() => {
        const [q, k, v] = [1, 2, 3].map(() => tensor(device, new Float32Array(tokens * size), [1, 1, tokens, size]));
        scaledDotProductAttention(q!, k!, v!);
      });
    } finally {
      device.run = own;
    }
    return seen.join();
  };
  for (const [tokens, size] of [
    [16, 48],
    [197, 64],
    [16, 128],
  ] as const)
    expect(kernel(tokens, size) === "attention_gemm", `${tokens} ${size}`).toBe(products);
  for (const [tokens, size] of [
    [15, 64],
    [256, 44],
    [256, 16],
    [64, 132],
  ] as const)
    expect(kernel(tokens, size), `${tokens} ${size}`).toMatch(/^attention(_subgroup)?$/);
});
