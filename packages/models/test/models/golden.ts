/** The comparison of a model's results with a golden file's. */
import { backward, gradOf } from "@refl/autograd";
import { type Device, scope, type Tensor } from "@refl/tensor";
import { expect } from "vitest";
import { entryToFloat32 } from "../../src/formats/entries.ts";
import type { Golden } from "./golden-file.ts";

export { Golden, goldenConfig, openGolden } from "./golden-file.ts";

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
