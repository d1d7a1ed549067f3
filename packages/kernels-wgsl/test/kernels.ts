/** All kernels that the package exports, alone or in lists and records, and how tests name their variants. */

import type { Defines, Kernel } from "../src/index.ts";
import * as exported from "../src/index.ts";

function isKernel(value: unknown): value is Kernel {
  return typeof value === "object" && value !== null && "source" in value && "buffers" in value && "params" in value;
}

function kernelsIn(value: unknown): Kernel[] {
  if (isKernel(value)) return [value];
  if (
    Array.isArray(value) ||
    (value !== null && typeof value === "object" && Object.getPrototypeOf(value) === Object.prototype)
  ) {
    return Object.values(value).flatMap(kernelsIn);
  }
  return [];
}

export const kernels: readonly Kernel[] = [...new Set(Object.values(exported).flatMap(kernelsIn))];

/** A variant's name: the kernel and its defines, without the texts of functions. */
export function variantName(kernel: Kernel, defines: Defines): string {
  const flags = Object.entries(defines)
    .filter(([name, value]) => value !== false && name !== "MATH" && name !== "EXPR")
    .map(([name, value]) => (value === true ? name : `${name}=${value}`));
  return [kernel.name, ...flags].join(" ");
}

export interface Variant {
  readonly kernel: Kernel;
  readonly defines: Defines;
}

export const variants: readonly (readonly [name: string, variant: Variant])[] = kernels.flatMap((kernel) =>
  kernel.variants.map((defines) => [variantName(kernel, defines), { kernel, defines }] as const),
);
