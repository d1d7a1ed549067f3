/** The hosts that lend a WebGPU: the browser and Deno through `navigator.gpu`; Node's is in `host.node.ts`. */
import { NoAdapterError } from "./errors.ts";

/** What a host gives the engine. */
export interface Host {
  readonly name: "browser" | "deno" | "node";
  readonly gpu: GPU;
  /**
   * Sleeps for `milliseconds` without using a core, then lets the event loop turn once; absent where awaiting is free.
   * (Dawn in Node sees the end of work only when the event loop turns, and turns it without pause while something is awaited, which takes
   * a core from a software adapter.)
   */
  readonly rest?: (milliseconds: number) => Promise<void>;
}

/** The host of the page, worker or Deno process that this runs in. Throws {@link NoAdapterError} where there is no WebGPU. */
export function webHost(): Host {
  const scope = globalThis as { navigator?: { gpu?: GPU }; Deno?: unknown };
  const gpu = scope.navigator?.gpu;
  if (!gpu)
    throw new NoAdapterError(
      "this host has no navigator.gpu: use a browser with WebGPU, Deno with --unstable-webgpu, or nodeHost() from @refl/tensor/node",
    );
  return { name: scope.Deno ? "deno" : "browser", gpu };
}
