/** The race detector over every kernel with a barrier, on dispatches that ops make of it. */
import { boundBuffers, type Defines, expand, type Kernel, type ParamValues } from "@refl/kernels-wgsl";
import { type NdArray, type OpCase, opCases, references } from "@refl/kernels-wgsl/testing";
import { expect, test } from "vitest";
import { findRaces, hasBarrier } from "../../kernels-wgsl/test/detect.ts";
import { variantName, variants } from "../../kernels-wgsl/test/kernels.ts";
import {
  apply,
  createDevice,
  type Device,
  type Op,
  type OpAttrs,
  type Storage,
  scope,
  type Tensor,
} from "../src/index.ts";
import { testDevice } from "./device.ts";
import { caseName, drawOperands, halfForm, place, relativeError } from "./operands.ts";
import { raceRows } from "./race-rows.ts";

/**
 * Kernels with barriers that the detector cannot run in some form (it has no f16 and sees subgroups of one lane), and the op whose row in the first
 * test below compares that form's result with the float64 reference instead.
 */
const BEYOND: Readonly<Record<string, string>> = {
  "conv_implicit f16": "conv2d",
  "cross_entropy f16": "crossEntropy",
  "cross_entropy_backward f16": "crossEntropyBackward",
  "gemm_tiled f16": "matmul",
  "group_norm f16": "groupNorm",
  "group_norm_backward f16": "groupNormBackward",
  "group_norm_sums f16": "groupNormBackward",
  "layer_norm f16": "layerNorm",
  "layer_norm_backward f16": "layerNormBackward",
  "softmax f16": "softmax",
  "softmax_backward f16": "softmaxBackward",
  "sum_rows f16": "mean",
};

/** Dispatches of more workgroups are left to smaller rows: the interpreter takes up to a second for one. */
const MAX_GROUPS = 8;

const groupsOf = (grid: readonly number[]): number => grid.reduce((x, y) => x * y, 1);

/** One dispatch of a barrier kernel, with copies of its buffers before and after. */
interface Seen {
  readonly kernel: Kernel;
  readonly defines: Defines;
  readonly params: ParamValues;
  readonly grid: readonly [number, number, number];
  readonly row: string;
  readonly before: readonly Storage[];
  readonly after: readonly Storage[];
}

/** The test device in the guise of a GPU without subgroups, for which ops choose the kernels with barriers that a software adapter seldom gets. */
const guised: Promise<Device> = testDevice("full").then(({ gpu }) => {
  const info = { vendor: "", architecture: "", device: "", description: "" } as GPUAdapterInfo;
  return createDevice({ gpu: { device: gpu, info } });
});

const watched = (kernel: Kernel, defines: Defines, grid: readonly number[]): boolean =>
  hasBarrier(expand(kernel, defines)) && groupsOf(grid) <= MAX_GROUPS;

/** Encodes a row while `run` stands in for the device's own. */
function encodeRow(device: Device, c: OpCase, operands: readonly NdArray[], run: Device["run"]): Tensor {
  const own = device.run;
  device.run = run;
  try {
    return scope(() => {
      const inputs = c.inputs.map((spec, i) => place(device, spec, operands[i]!));
      return apply(c.op as Op, inputs, c.attrs as OpAttrs[Op]);
    });
  } finally {
    device.run = own;
  }
}

/** The barrier variants that a row dispatches; nothing runs, because the many other kernels would each be compiled for nothing. */
function reached(device: Device, c: OpCase): string[] {
  const names: string[] = [];
  const note: Device["run"] = (kernel, defines, _, __, grid) => {
    if (watched(kernel, defines, grid)) names.push(variantName(kernel, defines));
  };
  encodeRow(device, c, drawOperands(c), note).dispose();
  return names;
}

/** Computes a row and gives the dispatches of barrier kernels in it, and the result's error. */
async function watch(device: Device, c: OpCase): Promise<{ seen: Seen[]; error: number }> {
  const copyOf = (storage: Storage): Storage => {
    const copy = device.allocate(storage.bytes, "copy");
    device.copy(storage, 0, copy, 0, storage.bytes);
    return copy;
  };
  const seen: Seen[] = [];
  const run = device.run.bind(device);
  const operands = drawOperands(c);
  const result = encodeRow(device, c, operands, (kernel, defines, storages, params, grid) => {
    const copied = watched(kernel, defines, grid);
    const before = copied ? storages.map(copyOf) : [];
    run(kernel, defines, storages, params, grid);
    if (copied) seen.push({ kernel, defines, params, grid, row: caseName(c), before, after: storages.map(copyOf) });
  });
  const found = await result.data();
  result.dispose();
  return { seen, error: relativeError(found, references[c.op]!(operands, c.attrs as never).data) };
}

function forget({ before, after }: Seen): void {
  for (const storage of [...before, ...after]) storage.release();
}

/** What the detector lacks for a text, if anything. */
const lacking = (text: string): string | undefined => /^enable (f16|subgroups);/m.exec(text)?.[1];

const withBarrier = variants.filter(([, { kernel, defines }]) => hasBarrier(expand(kernel, defines)));
const checkable = withBarrier.filter(([, { kernel, defines }]) => !lacking(expand(kernel, defines)));
const chosen = new Map<string, Seen>();
const beyond = new Map<string, string>();

test("rows are right on a device that chooses the kernels with barriers", { timeout: 600_000 }, async () => {
  const device = await guised;
  const halves = device.capabilities.f16 ? [...raceRows, ...opCases].flatMap((c) => halfForm(c) ?? []) : [];
  for (const c of [...raceRows, ...opCases, ...halves]) {
    if (reached(device, c).every((name) => chosen.has(name))) continue;
    const { seen, error } = await watch(device, c);
    expect(error, caseName(c)).toBeLessThanOrEqual(c.tolerance ?? 1e-5);
    for (const candidate of seen) {
      const name = variantName(candidate.kernel, candidate.defines);
      const lack = lacking(expand(candidate.kernel, candidate.defines));
      if (lack && !beyond.has(`${candidate.kernel.name} ${lack}`)) beyond.set(`${candidate.kernel.name} ${lack}`, c.op);
      if (chosen.has(name)) forget(candidate);
      else chosen.set(name, candidate);
    }
  }
  if (!device.capabilities.f16) for (const name in BEYOND) beyond.set(name, BEYOND[name]!);
});

test("every barrier variant is checked below, or listed with the row that covers it", () => {
  for (const [name, { kernel, defines }] of withBarrier) {
    const lack = lacking(expand(kernel, defines));
    if (lack) expect(Object.keys(BEYOND), name).toContain(`${kernel.name} ${lack}`);
    else expect(chosen.has(name), name).toBe(true);
  }
  expect(Object.fromEntries([...beyond].sort(([a], [b]) => (a < b ? -1 : 1)))).toEqual(BEYOND);
});

test.for(checkable)("%s", async ([name, { kernel, defines }]) => {
  const seen = chosen.get(name)!;
  const device = await guised;
  const read = (storages: readonly Storage[]): Promise<ArrayBuffer[]> =>
    Promise.all(storages.map((storage) => device.read(storage, 0, storage.bytes)));
  const before = await read(seen.before);
  const after = await read(seen.after);
  const buffers = before.map((bytes) => bytes.slice(0));
  expect(findRaces(kernel, expand(kernel, defines), { buffers, params: seen.params, grid: seen.grid })).toEqual([]);
  // The detector must have done the work in which it found no race: what it or the device wrote is the same.
  let total = 0;
  boundBuffers(kernel, defines).forEach(([buffer, access], i) => {
    if (access === "read") return;
    const [old, ours, theirs] = [before[i]!, buffers[i]!, after[i]!].map((bytes) => new Float32Array(bytes));
    const written = [...old!.keys()].filter((k) => !Object.is(old![k], ours![k]) || !Object.is(old![k], theirs![k]));
    total += written.length;
    const error = relativeError(
      written.map((k) => ours![k]!),
      written.map((k) => theirs![k]!),
    );
    expect(error, buffer).toBeLessThan(1e-5);
  });
  expect(total).toBeGreaterThan(0);
  forget(seen);
});
