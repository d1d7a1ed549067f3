/** Counter-based random numbers for data: every draw is a pure function of (seed, stream, index). */

import { philox4x32 } from "@refl/tensor";

const TWO_32 = 2 ** 32;

/** Four u32 words for draw number `block` of (seed, stream, index). `seed` and `index` are integers from 0 to 2^53 - 1, `stream` and `block` u32. */
export function wordsAt(seed: number, stream: number, index: number, block = 0): [number, number, number, number] {
  return philox4x32(
    [index >>> 0, Math.floor(index / TWO_32) >>> 0, stream >>> 0, block >>> 0],
    [seed >>> 0, Math.floor(seed / TWO_32) >>> 0],
  );
}

/** Uniform in [0, 1), 32 bits of it. */
export function uniformAt(seed: number, stream: number, index: number, block = 0): number {
  return wordsAt(seed, stream, index, block)[0] / TWO_32;
}

/** Uniform integer in 0 .. count - 1. */
export function intAt(seed: number, stream: number, index: number, count: number, block = 0): number {
  return Math.floor(uniformAt(seed, stream, index, block) * count);
}

/** Standard normal (Box-Muller). */
export function normalAt(seed: number, stream: number, index: number, block = 0): number {
  const [a, b] = wordsAt(seed, stream, index, block);
  return Math.sqrt(-2 * Math.log((a + 1) / TWO_32)) * Math.cos((2 * Math.PI * b) / TWO_32);
}

/** A permutation of 0 .. count - 1 (Fisher-Yates, one block per swap). */
export function shuffleAt(seed: number, stream: number, index: number, count: number): number[] {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = intAt(seed, stream, index, i + 1, i);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** FNV-1a of the text's UTF-16 code units, mixed to spread short texts over all 32 bits (MurmurHash3 finaliser). */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The stream number of a named use, so that two uses never share draws. */
export const streamOf = (name: string): number => hashText(`stream:${name}`);
