/** Under what a tuner keeps what it learnt: ops of about the same sizes share an answer, and kernels' texts have fingerprints. */
import type { KernelChoice } from "./chooser.ts";

/**
 * The size that stands for all near it: 0 to 4 themselves, above them the next of 6, 8, 12, 16, 24, 32, …, so that two sizes of a bucket are less than
 * half apart.
 */
export function bucket(size: number): number {
  if (size <= 4) return size;
  const power = 2 ** Math.ceil(Math.log2(size));
  return size <= 0.75 * power ? 0.75 * power : power;
}

/** The key of a choice: op, form, bucketed sizes. */
export function choiceKey({ op, form, sizes }: Pick<KernelChoice, "op" | "form" | "sizes">): string {
  let key = `${op} ${form}`;
  for (const name in sizes) key += ` ${name}${bucket(sizes[name]!)}`;
  return key;
}

/** FNV-1a over UTF-16 units, in hexadecimal digits: tells texts apart, guards nothing. */
export function fingerprint(text: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return hash.toString(16).padStart(8, "0");
}

const prints = new WeakMap<readonly { readonly source: string }[], string>();

/** The fingerprint of kernels' texts; computed once for each list. */
export function kernelsFingerprint(kernels: readonly { readonly source: string }[]): string {
  let print = prints.get(kernels);
  if (print === undefined) prints.set(kernels, (print = fingerprint(kernels.map((k) => k.source).join("\0"))));
  return print;
}
