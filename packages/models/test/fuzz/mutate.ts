/** Seeded damage to files: bits, lengths, pieces moved, doubled and lost, as broken downloads and hostile writers make it. */

/** Numbers from a seed; equal seeds give equal sequences. */
export class Random {
  #state: number;

  constructor(seed: number, stream: number, index: number) {
    this.#state =
      Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(stream + 1, 0xc2b2ae35) ^ Math.imul(index, 0x27d4eb2f);
    for (let i = 0; i < 4; i++) this.next();
  }

  /** 32 bits (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let x = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return (x ^ (x >>> 14)) >>> 0;
  }

  /** An integer in [0, bound). */
  below(bound: number): number {
    return bound < 1 ? 0 : this.next() % bound;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

const LENGTHS: readonly bigint[] = [
  0n,
  1n,
  -1n,
  0x7fn,
  0x80n,
  0xffn,
  0xffffn,
  0x7fffffffn,
  0x80000000n,
  0xfffffff0n,
  0xffffffffn,
  2n ** 40n,
  2n ** 50n,
  2n ** 53n,
  2n ** 62n,
  2n ** 63n,
];

type Mutation = (bytes: Uint8Array, random: Random, others: readonly Uint8Array[]) => Uint8Array;

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function changed(bytes: Uint8Array, change: (copy: Uint8Array, view: DataView) => void): Uint8Array {
  const copy = bytes.slice();
  change(copy, new DataView(copy.buffer));
  return copy;
}

function setNumber(bytes: Uint8Array, random: Random, value: bigint): Uint8Array {
  const size = random.pick([1, 2, 4, 8]);
  if (bytes.length < size) return bytes;
  const at = random.below(bytes.length - size + 1);
  const little = random.below(8) > 0;
  return changed(bytes, (copy) => {
    for (let i = 0; i < size; i++) copy[at + (little ? i : size - 1 - i)] = Number((value >> BigInt(8 * i)) & 0xffn);
  });
}

/** Digits of a JSON header, replaced by others. */
function setDigits(bytes: Uint8Array, random: Random): Uint8Array {
  const start = random.below(bytes.length);
  const digit = (i: number): boolean => bytes[i]! >= 0x30 && bytes[i]! <= 0x39;
  for (let i = start; i < bytes.length; i++) {
    if (!digit(i)) continue;
    let end = i;
    while (end < bytes.length && digit(end)) end++;
    const text = random.pick([
      "0",
      "-1",
      "1",
      "3",
      "7",
      "64",
      "4294967296",
      "9007199254740993",
      "1e300",
      "1e999",
      "0.5",
      "null",
      "[]",
    ]);
    return joined(bytes.subarray(0, i), new TextEncoder().encode(text), bytes.subarray(end));
  }
  return bytes;
}

const MUTATIONS: readonly Mutation[] = [
  (bytes, random) => changed(bytes, (copy) => (copy[random.below(copy.length)]! ^= 1 << random.below(8))),
  (bytes, random) => changed(bytes, (copy) => (copy[random.below(copy.length)] = random.below(256))),
  (bytes, random) => setNumber(bytes, random, random.pick(LENGTHS)),
  (bytes, random) => setNumber(bytes, random, BigInt(bytes.length) + BigInt(random.below(129) - 64)),
  (bytes, random) => setNumber(bytes, random, BigInt(random.below(bytes.length + 1))),
  (bytes, random) => bytes.subarray(0, random.below(bytes.length)),
  (bytes, random) => bytes.subarray(random.below(Math.min(bytes.length, 64))),
  (bytes, random) => {
    const at = random.below(bytes.length);
    return joined(bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(64)));
  },
  (bytes, random) => {
    const at = random.below(bytes.length);
    const piece = bytes.subarray(at, at + 1 + random.below(128));
    return joined(bytes.subarray(0, at), piece, bytes.subarray(at));
  },
  (bytes, random) => {
    const at = random.below(bytes.length);
    const from = random.below(bytes.length);
    return changed(bytes, (copy) =>
      copy.set(bytes.subarray(from, from + Math.min(32, bytes.length - Math.max(at, from))), at),
    );
  },
  (bytes, random, others) => {
    const other = random.pick(others);
    return joined(bytes.subarray(0, random.below(bytes.length)), other.subarray(random.below(other.length)));
  },
  (bytes, random) =>
    joined(
      bytes,
      Uint8Array.from({ length: random.below(256) }, () => random.below(256)),
    ),
  setDigits,
];

/** One to four damages to one of `files`. */
export function mutate(files: readonly Uint8Array[], random: Random): Uint8Array {
  let bytes = random.pick(files);
  for (let count = 1 + random.below(4); count > 0 && bytes.length > 0; count--) {
    bytes = random.pick(MUTATIONS)(bytes, random, files);
  }
  return bytes;
}
