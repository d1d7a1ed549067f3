/** Golden files of PyTorch's results: their configs, inputs, weights and expected tensors, and the comparison with ours. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { backward, gradOf } from "@refl/autograd";
import { type Device, scope, type Tensor, tensor } from "@refl/tensor";
import { expect } from "vitest";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { entryToFloat32 } from "../../src/formats/entries.ts";
import { openSafetensors, type SafetensorsFile, type TensorEntry } from "../../src/formats/safetensors.ts";

const path = (file: string): string => fileURLToPath(new URL(`../golden/${file}`, import.meta.url));

export function goldenConfig(name: string): Record<string, unknown> {
  return JSON.parse(readFileSync(path(`${name}.json`), "utf8")) as Record<string, unknown>;
}

export function openGolden(name: string): Promise<SafetensorsFile> {
  return openSafetensors(bytesSource(new Uint8Array(readFileSync(path(`${name}.safetensors`))), name));
}

/** All tensors of a case. */
export class Golden {
  readonly name: string;
  readonly entries: ReadonlyMap<string, TensorEntry>;

  private constructor(name: string, entries: ReadonlyMap<string, TensorEntry>) {
    this.name = name;
    this.entries = entries;
  }

  static async open(name: string): Promise<Golden> {
    const entries = new Map<string, TensorEntry>();
    for await (const entry of (await openGolden(name)).entries()) entries.set(entry.name, entry);
    return new Golden(name, entries);
  }

  values(key: string): Float32Array {
    return entryToFloat32(this.#entry(key));
  }

  /** A tensor of the file on the device: f32, or i32 for integers. */
  tensor(device: Device, key: string): Tensor {
    const entry = this.#entry(key);
    if (entry.dtype !== "I32") return tensor(device, this.values(key), entry.shape);
    const { buffer, byteOffset, byteLength } = entry.bytes.slice();
    return tensor(device, new Int32Array(buffer, byteOffset, byteLength / 4), entry.shape);
  }

  /** Weights below `param.<prefix>`, by the rest of their key. */
  weights(prefix = ""): Map<string, TensorEntry> {
    return this.below(`param.${prefix}`);
  }

  below(prefix: string): Map<string, TensorEntry> {
    const found = [...this.entries].filter(([key]) => key.startsWith(prefix));
    return new Map(found.map(([key, entry]) => [key.slice(prefix.length), entry]));
  }

  #entry(key: string): TensorEntry {
    const entry = this.entries.get(key);
    if (!entry) throw new Error(`${this.name} has no ${key}`);
    return entry;
  }
}

/** Largest |difference| over the largest |expected|; absolute where all that is expected is rounding noise. */
export function deviation(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let scale = 0;
  let worst = 0;
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY;
  for (let i = 0; i < expected.length; i++) {
    scale = Math.max(scale, Math.abs(expected[i]!));
    const difference = Math.abs(found[i]! - expected[i]!);
    worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(worst, difference);
  }
  return worst / (scale > 1e-9 ? scale : 1);
}

/** Deviations above `tolerance` by name, so that a failure lists all of them. */
export function tooFar(deviations: ReadonlyMap<string, number>, tolerance: number): Record<string, number> {
  return Object.fromEntries([...deviations].filter(([, far]) => !(far <= tolerance)));
}

/** Of every output and gradient. */
export const TOLERANCE = 1e-4;

export async function read(x: Tensor): Promise<Float32Array> {
  return (await x.data()) as Float32Array;
}

/** Runs a case: `forward` gives outputs by name; those with a cotangent make the loss. Compares outputs and gradients of `inputs`. */
export async function check(
  device: Device,
  golden: Golden,
  inputs: Record<string, Tensor>,
  forward: () => Record<string, Tensor>,
): Promise<void> {
  const outputs = scope(() => {
    const made = forward();
    const terms = Object.entries(made)
      .filter(([name]) => golden.entries.has(`cotangent.${name}`))
      .map(([name, output]) => output.mul(golden.tensor(device, `cotangent.${name}`)).sum());
    backward(terms.reduce((a, b) => a.add(b)));
    return made;
  });
  const deviations = new Map<string, number>();
  for (const [name, output] of Object.entries(outputs)) {
    deviations.set(`output.${name}`, deviation(await read(output), golden.values(`output.${name}`)));
    output.dispose();
  }
  for (const [name, input] of Object.entries(inputs)) {
    if (!golden.entries.has(`grad.${name}`)) continue;
    deviations.set(`grad.${name}`, deviation(await read(gradOf(input)!), golden.values(`grad.${name}`)));
  }
  expect(tooFar(deviations, TOLERANCE)).toEqual({});
}

/**
 * Compares accumulated gradients with `gradparam.<prefix><key>`: weights without an entry must have none or zeros. Gradients far smaller than the model's
 * largest are compared with that: a key's bias has none in exact arithmetic.
 */
export async function expectGradients(
  golden: Golden,
  parameters: ReadonlyMap<string, Tensor>,
  tolerance: number,
  prefix = "",
): Promise<void> {
  const expected = golden.below(`gradparam.${prefix}`);
  const largest = (values: Float32Array): number => values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const whole = Math.max(...[...expected.values()].map((entry) => largest(entryToFloat32(entry))));
  const deviations = new Map<string, number>();
  for (const [key, parameter] of parameters) {
    const gradient = gradOf(parameter);
    const found = gradient ? ((await gradient.data()) as Float32Array) : new Float32Array(parameter.numel);
    const entry = expected.get(key);
    const values = entry ? entryToFloat32(entry) : new Float32Array(parameter.numel);
    const noise = largest(values) < 1e-6 * whole;
    deviations.set(key, noise ? largest(found.map((x, i) => x - values[i]!)) / whole : deviation(found, values));
  }
  expect(tooFar(deviations, tolerance)).toEqual({});
}
