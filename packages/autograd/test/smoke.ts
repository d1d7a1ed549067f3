/** The smoke check of a web host (a browser, Deno): the tables' smoke rows and small products, forward and gradients, on both tiers. */
import { type OpCase, opCases, references } from "@refl/kernels-wgsl/testing";
import { type AdapterIdentity, apply, createDevice, type Device, type Op, type OpAttrs, scope } from "@refl/tensor";
import { caseName, drawOperands, place, relativeError } from "../../tensor/test/operands.ts";
import { differentiable, gradientErrors } from "./numeric.ts";

/** What one host found on one tier. */
export interface SmokeReport {
  readonly host: string;
  readonly tier: "full" | "portable";
  readonly adapter: AdapterIdentity;
  readonly passed: number;
  readonly failed: number;
  readonly failures: readonly string[];
  readonly seconds: number;
}

/** Families with kernels by size and tier, of which further small rows run. */
const MORE = ["sum", "mean", "amax", "variance", "matmul", "linear", "conv2d", "conv2dInputGrad", "conv2dWeightGrad"];
const elements = (c: OpCase): number => c.inputs.reduce((n, i) => n + i.shape.reduce((x, y) => x * y, 1), 0);
const rows = opCases.filter((c) => c.smoke || (MORE.includes(c.op) && elements(c) <= 800));

async function forwardError(device: Device, c: OpCase): Promise<number> {
  const operands = drawOperands(c);
  const result = scope(() => {
    const inputs = c.inputs.map((spec, i) => place(device, spec, operands[i]!));
    return apply(c.op as Op, inputs, c.attrs as OpAttrs[Op]);
  });
  const found = await result.data();
  result.dispose();
  return relativeError(found, references[c.op]!(operands, c.attrs as never).data);
}

async function smokeTier(tier: "full" | "portable"): Promise<SmokeReport> {
  const start = performance.now();
  let device = await createDevice({ tier });
  const { adapter, hostName: host } = device;
  const failures: string[] = [];
  let passed = 0;
  const check = async (name: string, c: OpCase, error: () => Promise<number>): Promise<void> => {
    let failure: string | null;
    try {
      const found = await error();
      const limit = c.tolerance ?? 1e-5;
      failure = found <= limit ? null : `error ${found} > ${limit}`;
    } catch (cause) {
      failure = String(cause);
      // A WebGPU error stays with its device.
      device.dispose();
      device = await createDevice({ tier });
    }
    if (failure === null) passed++;
    else failures.push(`${name}: ${failure}`);
  };
  for (const c of rows) {
    await check(caseName(c), c, () => forwardError(device, c));
    if (!c.smoke || !differentiable.includes(c)) continue;
    await check(`gradient of ${caseName(c)}`, c, async () =>
      Math.max(0, ...(await gradientErrors(device, c)).map(([, error]) => error)),
    );
  }
  device.dispose();
  const seconds = (performance.now() - start) / 1000;
  return { host, tier, adapter, passed, failed: failures.length, failures, seconds };
}

/** Runs the check on this host, one tier after the other. */
export async function smoke(): Promise<SmokeReport[]> {
  return [await smokeTier("full"), await smokeTier("portable")];
}
