/** The parity command's entry: makes a device and runs cases one after the other. */
import { createDevice } from "@refl/tensor";
import { nodeHost } from "@refl/tensor/node";
import { PARITY_CASES, type ParityCase } from "./cases.ts";
import { compare, type ParityResult } from "./compare.ts";

export interface ParityRun {
  readonly adapter: string;
  readonly largestBinding: number;
  readonly results: readonly ParityResult[];
}

export { PARITY_CASES };

/** Runs cases with the golden files in `folder`; `report` is called after each. */
export async function run(
  cases: readonly ParityCase[],
  folder: string,
  report: (result: ParityResult) => void,
): Promise<ParityRun> {
  // What every WebGPU device binds: no model may need more.
  const device = await createDevice({ host: nodeHost(), largestBinding: 2 ** 27 });
  const results: ParityResult[] = [];
  for (const item of cases) {
    const result = await compare(device, folder, item);
    results.push(result);
    report(result);
  }
  const { adapter, largestBinding } = device;
  device.dispose();
  return { adapter: adapter.description || adapter.device, largestBinding, results };
}
