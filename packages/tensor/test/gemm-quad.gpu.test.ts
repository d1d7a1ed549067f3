/** The matrix product of software adapters with four lanes, on this adapter's device under a name and a subgroup size of such. */
import { drawOperand, type OpCase, references } from "@refl/kernels-wgsl/testing";
import { afterAll, expect, test } from "vitest";
import { apply, Device, type Op, type OpAttrs, scope } from "../src/index.ts";
import { nodeHost } from "../src/node.ts";
import { caseName, place, relativeError } from "./operands.ts";

const host = nodeHost();
const adapter = await host.gpu.requestAdapter();
const gpu = await adapter!.requestDevice({ requiredFeatures: ["subgroups"] });
const names = { vendor: "google", architecture: "swiftshader", device: "", description: "" };
const info = { ...names, subgroupMinSize: 4, subgroupMaxSize: 4 } as unknown as GPUAdapterInfo;
const device = new Device(gpu, info, {}, host, true);
afterAll(() => device.dispose());

const kernels: string[] = [];
const run = device.run;
device.run = (kernel, ...rest) => {
  kernels.push(kernel.name);
  run.call(device, kernel, ...rest);
};

// Its text has a thousand multiply-adds, which this adapter compiles for seconds: one row for each way in which operands lie.
const rows: readonly OpCase[] = [
  { op: "matmul", inputs: [{ shape: [3, 18, 8] }, { shape: [3, 8, 132] }], attrs: {} },
  {
    op: "matmul",
    inputs: [
      { shape: [20, 4], layout: "transposed" },
      { shape: [4, 36], layout: "transposed" },
    ],
    attrs: {},
  },
  {
    op: "linear",
    inputs: [{ shape: [20, 8] }, { shape: [68, 8] }, { shape: [68], layout: "sliced" }],
    attrs: { activation: "gelu" },
  },
  { op: "matmul", inputs: [{ shape: [4, 8] }, { shape: [8, 132] }], attrs: {} },
  { op: "matmul", inputs: [{ shape: [20, 8] }, { shape: [8, 16] }], attrs: {} },
  { op: "matmul", inputs: [{ shape: [20, 5] }, { shape: [5, 132] }], attrs: {} },
];

test.for(rows.map((c) => [caseName(c), c] as const))("%s", async ([, c]) => {
  const operands = c.inputs.map((spec, i) => drawOperand(spec, 17 * i + 3));
  const result = scope(() => {
    const inputs = c.inputs.map((spec, i) => place(device, spec, operands[i]!));
    kernels.length = 0;
    return apply(c.op as Op, inputs, c.attrs as OpAttrs[Op]);
  });
  const found = await result.data();
  result.dispose();
  expect(relativeError(found, references[c.op]!(operands, c.attrs as never).data)).toBeLessThanOrEqual(1e-5);
  const [m, k] = c.inputs[0]!.shape.slice(-2) as [number, number];
  const n = c.op === "linear" ? c.inputs[1]!.shape[0]! : c.inputs[1]!.shape.at(-1)!;
  if (m > 4 && n > 16 && k % 4 === 0 && n % 4 === 0) expect(kernels).toContain("gemm_quad");
  else expect(kernels).not.toContain("gemm_quad");
});
