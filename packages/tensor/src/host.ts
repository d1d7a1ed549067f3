/** The hosts that lend a WebGPU: the browser and Deno through `navigator.gpu`; Node's is in `host.node.ts`. */
import { NoAdapterError } from "./errors.ts";

/** What a host gives the engine. */
export interface Host {
  readonly name: "browser" | "deno" | "node";
  readonly gpu: GPU;
  /**
   * Waits without using a core before a queue is awaited for about `milliseconds`; absent where awaiting is free.
   * (Dawn's event loop in Node polls, which takes a core from a software adapter.)
   */
  readonly rest?: (milliseconds: number) => void;
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
