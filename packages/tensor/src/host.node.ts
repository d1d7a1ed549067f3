/** Node's host: Dawn from the npm package `webgpu`. */
import { create, globals } from "webgpu";
import type { Host } from "./host.ts";

// Dawn's instance must stay reachable for ever: once it is collected, the next call into it crashes the process.
let instance: GPU | undefined;
const sleeper = new Int32Array(new SharedArrayBuffer(4));

/**
 * Timestamps to the nanosecond: in steps of 65 µs, as pages get them, small kernels could not be told apart. And no zeros into new buffers before their first use:
 * nothing counts on them, since buffers are used again, and they took as long as loading the weights that come next.
 */
const TOGGLES = ["disable-dawn-features=timestamp_quantization,lazy_clear_resource_on_first_use"];

/** Dawn, created once per process. `features` are further Dawn toggles such as `enable-dawn-features=allow_unsafe_apis`, read at the first call only. */
export function nodeHost(features: readonly string[] = []): Host {
  if (!instance) {
    Object.assign(globalThis, globals);
    instance = create([...TOGGLES, ...features]);
  }
  return { name: "node", gpu: instance, rest };
}

function rest(milliseconds: number): Promise<void> {
  Atomics.wait(sleeper, 0, 0, milliseconds);
  return new Promise((resolve) => void setImmediate(resolve));
}
