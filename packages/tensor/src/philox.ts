/** Philox 4×32-10, the counter-based generator (Salmon et al., SC'11): the same words in TypeScript and in WGSL. */

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

/** High 32 bits of a 32 × 32 product, in 16-bit limbs so that no step leaves the exact range of doubles. */
function mulhi(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const low = a0 * b0;
  const middle = a1 * b0 + (low >>> 16);
  const cross = a0 * b1 + (middle & 0xffff);
  return (a1 * b1 + Math.floor(middle / 65536) + Math.floor(cross / 65536)) >>> 0;
}

/** Four random words for a counter of four words and a key of two. Test vectors of the paper's Random123 hold. */
export function philox4x32(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const h0 = mulhi(M0, c0);
    const l0 = Math.imul(M0, c0);
    const h1 = mulhi(M1, c2);
    const l1 = Math.imul(M1, c2);
    c0 = (h1 ^ c1 ^ k0) >>> 0;
    c1 = l1 >>> 0;
    c2 = (h0 ^ c3 ^ k1) >>> 0;
    c3 = l0 >>> 0;
    k0 = (k0 + W0) >>> 0;
    k1 = (k1 + W1) >>> 0;
  }
  return [c0 >>> 0, c1 >>> 0, c2, c3];
}

/** A word → a uniform number in [0, 1) with 24 bits, the same as the kernel's. */
export function toUniform(word: number): number {
  return (word >>> 8) / 16777216;
}

/**
 * A stream of numbers named by (seed, stream). Element i is a pure function of those and i, so any part can be made anywhere, in any order.
 * `seed` is an integer up to 2^53, `stream` one up to 2^32.
 */
export class PhiloxStream {
  readonly seed: number;
  readonly stream: number;
  constructor(seed: number, stream = 0) {
    this.seed = seed;
    this.stream = stream;
  }
  /** The key and the upper counter words that kernels take: [seed low, seed high, stream]. */
  get words(): [number, number, number] {
    return [this.seed >>> 0, Math.floor(this.seed / 4294967296) >>> 0, this.stream >>> 0];
  }
  /** Word `index` of the stream. */
  word(index: number): number {
    const block = Math.floor(index / 4);
    const [low, high, stream] = this.words;
    return philox4x32([block >>> 0, Math.floor(block / 4294967296) >>> 0, stream, 0], [low, high])[
      (index % 4) as 0 | 1 | 2 | 3
    ];
  }
  uniform(index: number): number {
    return toUniform(this.word(index));
  }
  /** Integer in [0, bound). The multiply-shift form: bias below bound / 2^32. */
  integer(index: number, bound: number): number {
    return mulhi(this.word(index), bound);
  }
  /** Standard normal by Box–Muller: even and odd elements share two words. */
  normal(index: number): number {
    const pair = index - (index % 2);
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform(pair)));
    const angle = 2 * Math.PI * this.uniform(pair + 1);
    return index % 2 === 0 ? radius * Math.cos(angle) : radius * Math.sin(angle);
  }
  /** A permutation of 0…n−1 by sorting on words (ties by index). */
  permutation(n: number): number[] {
    const keys = Array.from({ length: n }, (_, i) => this.word(i));
    return keys.map((_, i) => i).sort((a, b) => keys[a]! - keys[b]! || a - b);
  }
}
