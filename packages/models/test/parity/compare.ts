/** Runs a full-size model on seeded weights and compares activations at named points, outputs and gradients with its golden file. */
import { backward, gradOf, noGrad, requireGrad } from "@refl/autograd";
import { cat, type Device, embedding, scope, Tensor, tensor } from "@refl/tensor";
import type { Module } from "../../src/nn/module.ts";
import { fillSeeded, seededWeight, UNIT_RULE } from "../../src/nn/seeded.ts";
import { Golden } from "../models/golden-file.ts";
import type { ParityCase } from "./cases.ts";

/** Largest |difference| over the largest |reference|. */
export const BARS = { output: 1e-4, gradient: 1e-3 } as const;

/** One line of the table. */
export interface ParityRow {
  readonly model: string;
  /** A module's path, `output <name>`, `gradient by <input>`, or `gradients by n weights`. */
  readonly what: string;
  readonly difference: number;
  readonly bar: number;
  readonly ok: boolean;
  /** For gradients by weights: where the difference is. */
  readonly worst?: string;
}

export interface ParityResult {
  readonly name: string;
  readonly rows: readonly ParityRow[];
  readonly parameters: number;
  readonly tensors: number;
  readonly seconds: { readonly weights: number; readonly forward: number; readonly backward: number };
  readonly peakBytes: number;
}

interface Described {
  readonly inputs: Readonly<Record<string, number[]>>;
  readonly points: readonly string[];
  /** Weights that have a gradient; none in a case without backward. */
  readonly parameters?: readonly string[];
}

/** The tensor of what a module gave: a band, or the first of a block's results. */
function firstTensor(result: unknown): Tensor {
  if (result instanceof Tensor) return result;
  return firstTensor(Object.values(result as object)[0]);
}

/** Keeps what the modules at `paths` give from now on; a path may be that in the larger model whose part this is at `prefix`. */
function watch(model: Module<never[], unknown>, paths: readonly string[], prefix: string): Map<string, Tensor> {
  const seen = new Map<string, Tensor>();
  const modules = new Map(model.namedModules());
  for (const path of paths) {
    const module = modules.get(path) ?? modules.get(path.replace(prefix, ""))!;
    const forward = module.forward.bind(module);
    module.forward = (...args: never[]) => {
      const result = forward(...args);
      seen.set(path, firstTensor(result).alias());
      return result;
    };
  }
  return seen;
}

/** Multiplies the matrices that end BERT's residual branches, by a power of two, so that bits stay those of the reference. */
function scaleBranches(model: Module<never[], unknown>, factor: number): void {
  if (factor === 1) return;
  for (const [key, slot] of model.namedSlots()) {
    if (key.endsWith("output.dense.weight"))
      for (const part of slot.parts) noGrad(() => scope(() => part.copy_(part.mul(factor))));
  }
}

const now = (): number => performance.now() / 1000;

/** Runs one case with the golden file in `folder`; the model is made, filled and disposed. Throws when the file is missing. */
export async function compare(device: Device, folder: string, item: ParityCase): Promise<ParityResult> {
  const { name, title, prefix, branches, make, forward } = item;
  const golden = await Golden.open(name, folder);
  const described = golden.config as Described & Record<string, unknown>;
  const differentiates = described.parameters !== undefined;
  const row = (what: string, difference: number, bar: number, worst?: string): ParityRow => {
    return { model: title, what, difference, bar, ok: difference <= bar, ...(worst ? { worst } : {}) };
  };
  device.trim();
  device.resetPeak();
  const started = now();
  const model = fillSeeded(make().eval(), device, { prefix });
  scaleBranches(model, branches);
  await device.sync();
  const filled = now();
  const drawn = Object.entries(described.inputs).map(([key, shape]) => {
    const input = tensor(device, seededWeight(`${name}/input.${key}`, shape, 0, UNIT_RULE), shape);
    return [key, differentiates ? requireGrad(input) : input] as const;
  });
  const ids = [...golden.below("input.").keys()].map((key) => {
    const input = golden.tensor(device, `input.${key}`);
    return [key, key === "timestep" ? input.to("f32") : input] as const;
  });
  const inputs = Object.fromEntries([...drawn, ...ids]);
  const seen = watch(model, described.points, prefix);
  const rows: ParityRow[] = [];
  const sampled = async (key: string, found: Tensor): Promise<number> => {
    const values = (await found.data()) as Float32Array;
    return sampleDifference(values, golden.values(key), golden.values(`largest.${key}`)[0]!);
  };
  const run = () => scope(() => forward(model, inputs));
  const outputs = differentiates ? run() : noGrad(run);
  await device.sync();
  const forwarded = now();
  for (const path of described.points) {
    const point = seen.get(path)!;
    rows.push(row(path, await sampled(`point.${path}`, point), BARS.output));
    point.dispose();
  }
  for (const [key, output] of Object.entries(outputs)) {
    rows.push(row(`output ${key}`, await sampled(`output.${key}`, output), BARS.output));
  }
  const before = now();
  if (differentiates) {
    scope(() => {
      const terms = Object.entries(outputs).map(([key, output]) => {
        const values = seededWeight(`${name}/cotangent.${key}`, output.shape, 0, UNIT_RULE);
        return output.mul(tensor(device, values, output.shape)).sum();
      });
      backward(terms.reduce((a, b) => a.add(b)));
    });
    await device.sync();
  }
  const after = now();
  for (const output of Object.values(outputs)) output.dispose();
  if (differentiates) {
    for (const [key, input] of drawn) {
      rows.push(row(`gradient by ${key}`, await sampled(`gradient.${key}`, gradOf(input)!), BARS.gradient));
    }
    const { difference, worst } = await gradientDifference(model, golden, described.parameters!, prefix);
    rows.push(row(`gradients by ${described.parameters!.length} weights`, difference, BARS.gradient, worst));
  }
  for (const input of Object.values(inputs)) input.dispose();
  const shapes = model.shapes();
  const result = {
    name,
    rows,
    parameters: model.parameterCount(),
    tensors: shapes.size,
    seconds: { weights: filled - started, forward: forwarded - filled, backward: after - before },
    peakBytes: device.memory().peak,
  };
  model.dispose();
  device.trim();
  return result;
}

/** Entry i of the reference is the one at ⌊i · size / count⌋. */
function sampleDifference(found: Float32Array, expected: Float32Array, largest: number): number {
  let worst = 0;
  for (const [i, value] of expected.entries()) {
    const difference = Math.abs(found[Math.floor((i * found.length) / expected.length)]! - value);
    worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(worst, difference);
  }
  return worst / largest;
}

/** Gradients this much smaller than the model's largest are rounding noise: a key's bias has none in exact arithmetic. */
const NOISE = 1e-6;

/**
 * The largest relative difference of a weight's gradient: in its norm, over the reference's norm, or in one of the entries kept, over the largest entry.
 * Sums and entries are gathered on the device and read at once.
 */
async function gradientDifference(
  model: Module<never[], unknown>,
  golden: Golden,
  keys: readonly string[],
  prefix: string,
): Promise<{ difference: number; worst: string }> {
  const { places, entries, norms, largest } = {
    places: golden.integers("parameters.places"),
    entries: golden.values("parameters.entries"),
    norms: golden.values("parameters.norms"),
    largest: golden.values("parameters.largest"),
  };
  const each = places.length / keys.length;
  const slots = new Map([...model.namedSlots()].map(([key, slot]) => [prefix + key, slot]));
  const order = new Map(keys.map((key, i) => [slots.has(key) ? key : prefix + key, i]));
  const whole = largest.reduce((a, b) => Math.max(a, b));
  let difference = 0;
  let worst = "";
  for (const [key, slot] of slots) {
    const i = order.get(key);
    const at = i === undefined ? new Int32Array(each) : places.subarray(i * each, (i + 1) * each);
    let first = 0;
    let squares = 0;
    const found = new Float32Array(each);
    for (const part of slot.parts) {
      const gradient = gradOf(part);
      const start = first;
      first += part.numel;
      if (!gradient) continue;
      const own = [...at.keys()].filter((k) => at[k]! >= start && at[k]! < first);
      const joined = noGrad(() =>
        scope(() => {
          const flat = gradient.reshape(-1);
          const sum = flat.square().sum().reshape(1);
          if (!own.length) return sum.alias();
          const rows = tensor(
            part.device,
            Int32Array.from(own, (k) => at[k]! - start),
          );
          return cat([sum, embedding(flat.reshape(-1, 1), rows).reshape(-1)]).alias();
        }),
      );
      const [sum, ...picked] = (await joined.data()) as Float32Array;
      joined.dispose();
      squares += sum!;
      for (const [n, k] of own.entries()) found[k] = picked[n]!;
    }
    const norm = i === undefined ? 0 : norms[i]!;
    const most = i === undefined ? 0 : largest[i]!;
    const noise = most < NOISE * whole;
    const byNorm = Math.abs(Math.sqrt(squares) - norm) / (noise ? whole : norm);
    const byEntry = found.map((x, k) => Math.abs(x - (i === undefined ? 0 : entries[i * each + k]!)));
    const far = Math.max(byNorm, byEntry.reduce((a, b) => Math.max(a, b)) / (noise ? whole : most));
    if (Number.isNaN(far) || far > difference) {
      difference = Number.isNaN(far) ? Number.POSITIVE_INFINITY : far;
      worst = key;
    }
  }
  return { difference, worst };
}
