/** Kernel choices on a device: every candidate of every op equals the float64 reference, and what tuning does to eager ops and to plans. */
import { type OpCase, opCases, references } from "@refl/kernels-wgsl/testing";
import { describe, expect, test } from "vitest";
import {
  applyAll,
  createDevice,
  type Device,
  FixedChooser,
  type KernelChoice,
  memoryTuneStore,
  type Op,
  type OpAttrs,
  ReplayedFunction,
  scope,
  type Tensor,
  tensor,
} from "../src/index.ts";
import { nodeHost } from "../src/node.ts";
import { testDevice } from "./device.ts";
import { caseName, drawOperands, halfForm, place, relativeError } from "./operands.ts";

/** Sizes beyond the op tables: more than one workgroup of each kernel, edges on and off their tiles. */
const large: OpCase[] = [
  { op: "matmul", inputs: [{ shape: [70, 20] }, { shape: [20, 68] }], attrs: {} },
  { op: "matmul", inputs: [{ shape: [67, 35] }, { shape: [35, 66] }], attrs: {} },
  { op: "linear", inputs: [{ shape: [70, 20] }, { shape: [68, 20] }, { shape: [68] }], attrs: { activation: "gelu" } },
];

/** Runs a case with the kernels that `named` says, by op; `seen` gets each choice. */
async function run(device: Device, c: OpCase, named: Record<string, string>, seen?: (c: KernelChoice) => void) {
  const fixed = new FixedChooser(named);
  const chooser = {
    version: 0,
    choose: (choice: KernelChoice) => {
      seen?.(choice);
      return fixed.choose(choice);
    },
  };
  const operands = drawOperands(c);
  const outputs = device.withChooser(chooser, () =>
    scope(() => {
      const inputs = c.inputs.map((spec, i) => place(device, spec, operands[i]!));
      return applyAll(c.op as Op, inputs, c.attrs as OpAttrs[Op]);
    }),
  );
  const [found, ...further] = await Promise.all(outputs.map((output) => output.data()));
  for (const output of outputs) output.dispose();
  return { found: found!, further, expected: references[c.op]!(operands, c.attrs as never).data };
}

/** An activation is a line of a product's epilogue that all rungs share, and each makes seconds of compiling: one stands for all, which the standard kernels are tested with. */
const activation = ({ attrs }: OpCase): unknown => (attrs as { readonly activation?: unknown }).activation ?? "none";

const chosen = [
  ...opCases.filter(
    (c) =>
      /^(matmul|linear|conv2d|scaledDotProduct|softmax|logSoftmax|crossEntropy|layerNorm|groupNorm)/.test(c.op) &&
      !(c.op === "linear" && !["none", "gelu"].includes(activation(c) as string)),
  ),
  ...large,
];

const halves = chosen.flatMap((c) => (c.op === "linear" && activation(c) !== "none" ? [] : (halfForm(c) ?? [])));

for (const tier of ["full", "portable"] as const) {
  describe(`${tier} tier`, () => {
    const cases = tier === "full" ? [...chosen, ...halves] : chosen;
    test.for(cases.map((c) => [caseName(c), c] as const))("every candidate: %s", async ([, c]) => {
      const device = await testDevice(tier);
      if (!device.capabilities.f16 && halves.includes(c)) return;
      const choices: KernelChoice[] = [];
      const { further: same } = await run(device, c, {}, (choice) => void choices.push(choice));
      for (const { op, candidates, slow = [], standard } of choices) {
        expect(candidates).toContain(standard);
        expect(candidates.length).toBeLessThanOrEqual(8);
        for (const name of [...slow, ...candidates]) {
          const { found, further, expected } = await run(device, c, { [op]: name });
          expect(relativeError(found, expected), `${op} ${name}`).toBeLessThanOrEqual(c.tolerance ?? 1e-5);
          for (const [i, values] of further.entries())
            expect(relativeError(values, same[i]!), `${op} ${name}, output ${i + 1}`).toBeLessThanOrEqual(
              2 * (c.tolerance ?? 1e-5),
            );
        }
      }
    });
  });
}

const values = (count: number): Float32Array => Float32Array.from({ length: count }, (_, i) => Math.sin(i));

test("off: ops take their standard kernels, and give the bits of a device that knows no tuner", async () => {
  const device = await createDevice({ host: nodeHost(), tune: "off", tuneStore: memoryTuneStore() });
  expect(device.tuner).toBe(null);
  expect(device.chooser).toBe(null);
  await device.settleTuning();
  device.dispose();
});

test("online: measures eager ops and captured ones, and a plan is made anew for what it found", async () => {
  const tuneStore = memoryTuneStore();
  const device = await createDevice({ host: nodeHost(), tune: "online", tuneStore });
  const before = device.memory().storages;
  const x = tensor(device, values(64 * 48), [64, 48]);
  const eager = scope(() => x.matmul(x.transpose(0, 1)));
  const expected = await eager.data();
  await device.settleTuning();
  const learnt = [...device.tuner!.table];
  expect(learnt.map(([key]) => key)).toEqual(["matmul f32 nt aligned m64 n64 k48 batch1"]);
  const times = learnt[0]![1].ms;
  const subgroups = device.capabilities.subgroupSize >= 4 ? ["subgroup4", "subgroup16"] : [];
  expect(Object.keys(times)).toEqual(
    expect.arrayContaining(["naive", "register", "register4", "shared", ...subgroups]),
  );
  expect(Object.values(times).every((ms) => ms > 0)).toBe(true);

  const weight = tensor(device, values(64 * 32), [64, 32]);
  const fn = new ReplayedFunction(device, ({ a }: { a: Tensor }) => ({ y: a.transpose(0, 1).matmul(weight) }), {
    label: "product",
  });
  const data = { a: { values: values(64 * 48), shape: [64, 48] } };
  const first = await fn.call(data, null).y.data();
  await device.settleTuning();
  expect(device.tuner!.table.size).toBe(2);
  const second = await fn.call(data, null).y.data();
  expect(relativeError(second, first)).toBeLessThan(1e-5);
  const entry = device.tuner!.table.get("matmul f32 tn aligned m48 n32 k64 batch1")!;
  const { kernel } = fn.plans[0]!.steps.find((step) => step.kind === "dispatch")!;
  expect(kernel.name).toContain(entry.choice === "shared" ? "tiled" : entry.choice.replace(/\d+$/, ""));

  const again = scope(() => x.matmul(x.transpose(0, 1)));
  expect(relativeError(await again.data(), expected)).toBeLessThan(1e-5);
  fn.dispose();
  for (const t of [x, weight, eager, again]) t.dispose();
  expect(device.memory().storages).toBe(before);
  device.dispose();

  const next = await createDevice({ host: nodeHost(), tune: "cached", tuneStore });
  expect(next.tuner!.table.size).toBe(2);
  next.dispose();
});
