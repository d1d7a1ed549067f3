/** Functions that replay themselves: captured once for each variant and each set of shapes, and only replayed from then on. */
import type { Device } from "../device.ts";
import type { DType } from "../dtype.ts";
import { DisposedError } from "../errors.ts";
import { scope } from "../scope.ts";
import type { Shape } from "../shape.ts";
import { type Tensor, tensor } from "../tensor.ts";
import type { Arena } from "./arena.ts";
import { capture, type Outputs, type Plan } from "./plan.ts";

/** Values on the host with the shape that they have on a device. dtype: f32. */
export interface HostTensor {
  readonly values: ArrayLike<number>;
  readonly shape: Shape;
  readonly dtype?: DType;
}

/** The same names with values on the host. */
export type HostTensors<T extends Outputs> = { readonly [K in keyof T]: HostTensor };

/** Puts values on a device. */
export function toDevice<T extends Outputs>(device: Device, data: HostTensors<T>): T {
  const made = Object.entries<HostTensor>(data).map(
    ([name, { values, shape, dtype }]) => [name, hostTensor(device, values, shape, dtype ?? "f32")] as const,
  );
  return Object.fromEntries(made) as T;
}

function hostTensor(device: Device, values: ArrayLike<number>, shape: Shape, dtype: DType): Tensor {
  return tensor(device, ArrayBuffer.isView(values) ? (values as Float32Array) : Array.from(values), shape, dtype);
}

/** What a function is captured for anew, besides shapes: every number that it computes with and that may differ between calls. */
export type Variant = string | number | boolean | null | readonly Variant[] | { readonly [name: string]: Variant };

export interface ReplayedOptions {
  /** Names the function in errors, memory reports and explanations. */
  readonly label: string;
  /** Plans kept; the one longest unused makes room. Default 32. */
  readonly mostPlans?: number;
  /** Calls of a variant and its shapes that run op by op before it is captured: for functions whose shapes seldom come again. Default 0. */
  readonly eagerCalls?: number;
}

interface Entry<T extends Outputs, O extends Outputs> {
  calls: number;
  plan: Plan<HostTensors<T>, O> | null;
  /** The chooser's version that the plan's kernels are of. */
  version: number;
}

/**
 * A function of data and a variant. Its plans share one arena, so memory is that of the largest. What it computes may depend on the tensors of `data`,
 * the variant, and tensors of outside; anything else would be frozen at the first call.
 */
export class ReplayedFunction<T extends Outputs, V extends Variant, O extends Outputs> {
  readonly #device: Device;
  readonly #fn: (inputs: T, variant: V) => O;
  readonly #options: ReplayedOptions;
  readonly #entries = new Map<string, Entry<T, O>>();
  readonly #arena: Arena;
  #eager: O | null = null;
  #disposed = false;

  constructor(device: Device, fn: (inputs: T, variant: V) => O, options: ReplayedOptions) {
    this.#device = device;
    this.#fn = fn;
    this.#options = options;
    this.#arena = device.createArena();
  }

  /** The plans that there are, the one used last at the end. */
  get plans(): Plan<HostTensors<T>, O>[] {
    return [...this.#entries.values()].flatMap(({ plan }) => (plan ? [plan] : []));
  }

  /** Computes the function. The outputs' content lasts until the next call. Throws {@link CaptureError} as `capture` does. */
  call(data: HostTensors<T>, variant: V): O {
    if (this.#disposed) throw new DisposedError(`function ${this.#options.label}`);
    this.#forgetEager();
    const entry = this.#entry(data, variant);
    const version = this.#device.chooser?.version ?? 0;
    if (entry.version !== version) {
      // A tuner has found faster kernels since.
      entry.plan?.dispose();
      entry.plan = null;
      entry.version = version;
    }
    if (!entry.plan && entry.calls++ < (this.#options.eagerCalls ?? 0)) return this.#runEagerly(data, variant);
    if (!entry.plan) {
      this.#makeRoom();
      const { label } = this.#options;
      entry.plan = capture(this.#device, data, (inputs) => this.#fn(inputs as unknown as T, variant), {
        label,
        arena: this.#arena,
      });
    }
    const values = Object.entries(data).map(([name, tensor]) => [name, tensor.values] as const);
    return entry.plan.replay(Object.fromEntries(values) as { [K in keyof T]: ArrayLike<number> });
  }

  /** The entry of a call, moved to the end. */
  #entry(data: HostTensors<T>, variant: V): Entry<T, O> {
    let key = JSON.stringify(variant);
    for (const name in data) {
      const { shape, dtype = "f32" } = data[name]!;
      key += `|${name}:${dtype}[${shape}]`;
    }
    const entry = this.#entries.get(key) ?? { calls: 0, plan: null, version: 0 };
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry;
  }

  #makeRoom(): void {
    const plans = this.plans;
    if (plans.length < (this.#options.mostPlans ?? 32)) return;
    for (const entry of this.#entries.values()) {
      if (entry.plan !== plans[0]) continue;
      entry.plan!.dispose();
      entry.plan = null;
      return;
    }
  }

  #runEagerly(data: HostTensors<T>, variant: V): O {
    const kept: Record<string, Tensor> = {};
    scope(() => {
      const outputs: Outputs = this.#fn(toDevice(this.#device, data), variant);
      for (const [name, tensor] of Object.entries(outputs)) kept[name] = tensor.alias();
    });
    this.#eager = kept as unknown as O;
    return this.#eager;
  }

  #forgetEager(): void {
    for (const tensor of Object.values(this.#eager ?? {})) tensor.dispose();
    this.#eager = null;
  }

  /** Gives all memory back. Harmless when called twice. */
  dispose(): void {
    this.#disposed = true;
    this.#forgetEager();
    for (const plan of this.plans) plan.dispose();
    this.#entries.clear();
    this.#arena.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
