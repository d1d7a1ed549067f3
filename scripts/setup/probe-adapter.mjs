/** Asks Dawn for an adapter and prints its info as one line of JSON, `null` when there is none; run as a process of its own, since a broken driver may crash it. */
import { create } from "webgpu";

/** Kept for the life of the process: once this object is collected, Dawn crashes. */
export const gpu = create([]);

const adapter = await gpu.requestAdapter();
const info = adapter && {
  vendor: adapter.info.vendor,
  architecture: adapter.info.architecture,
  device: adapter.info.device,
  description: adapter.info.description,
};
process.stdout.write(`${JSON.stringify(info)}\n`, () => process.exit(0));
