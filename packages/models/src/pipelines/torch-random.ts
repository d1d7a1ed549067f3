/** PyTorch's normal numbers of the CPU, so that a seed of a script there draws the same noise here. */
import { DataError, numel, type Shape } from "@refl/tensor";

const WORDS = 624;
const MIDDLE = 397;
/** From this many elements on PyTorch fills sixteen at a time. */
const BLOCK = 16;
const HALF = BLOCK / 2;

/** The Mersenne Twister MT19937 (Matsumoto & Nishimura 1998), seeded as `torch.Generator().manual_seed(seed)` is: by the seed's low 32 bits. */
class MersenneTwister {
  readonly #state = new Uint32Array(WORDS);
  #at = WORDS;

  constructor(seed: number) {
    const state = this.#state;
    state[0] = Number(BigInt.asUintN(32, BigInt(seed)));
    for (let i = 1; i < WORDS; i++) {
      const previous = state[i - 1] as number;
      state[i] = Math.imul(previous ^ (previous >>> 30), 0x6c078965) + i;
    }
  }

  /** 32 uniform bits. */
  next(): number {
    if (this.#at === WORDS) this.#twist();
    let word = this.#state[this.#at++] as number;
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    return (word ^ (word >>> 18)) >>> 0;
  }

  #twist(): void {
    const state = this.#state;
    for (let i = 0; i < WORDS; i++) {
      const mixed = ((state[i] as number) & 0x80000000) | ((state[(i + 1) % WORDS] as number) & 0x7fffffff);
      const odd = mixed & 1 ? 0x9908b0df : 0;
      state[i] = (state[(i + MIDDLE) % WORDS] as number) ^ (mixed >>> 1) ^ odd;
    }
    this.#at = 0;
  }
}

/** A generator of PyTorch's CPU numbers: draws come one after the other, as from a `torch.Generator`. */
export class TorchGenerator {
  readonly #words: MersenneTwister;
  /** The second number of the last pair of a short draw, which the next short draw begins with. */
  #second: number | null = null;

  /** @throws DataError unless `seed` is a safe integer; negative ones wrap as in PyTorch */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed)) throw new DataError("sample", 0, "seed", `${seed} is no integer`);
    this.#words = new MersenneTwister(seed);
  }

  /**
   * What `torch.randn(shape, generator=…)` draws next in float32 on the CPU. The bits that it is made of are the same; logarithm and cosine are
   * rounded correctly here and approximated there, which shows in the last place or two.
   */
  randn(shape: Shape): Float32Array<ArrayBuffer> {
    const count = numel(shape);
    return count < BLOCK ? this.#short(count) : this.#long(count);
  }

  /** Box-Muller in double precision, in pairs. */
  #short(count: number): Float32Array<ArrayBuffer> {
    return Float32Array.from({ length: count }, () => {
      const kept = this.#second;
      if (kept !== null) {
        this.#second = null;
        return kept;
      }
      const angle = 2 * Math.PI * this.#uniform53();
      const radius = Math.sqrt(-2 * Math.log1p(-this.#uniform53()));
      this.#second = radius * Math.sin(angle);
      return radius * Math.cos(angle);
    });
  }

  /** Sixteen uniform numbers at a time: the first eight give radii, the others angles. A rest is drawn anew, over the last sixteen places. */
  #long(count: number): Float32Array<ArrayBuffer> {
    const out = new Float32Array(count);
    for (let i = 0; i < count; i++) out[i] = this.#uniform24();
    for (let start = 0; start + BLOCK <= count; start += BLOCK) boxMuller(out, start);
    if (count % BLOCK !== 0) {
      const start = count - BLOCK;
      for (let i = start; i < count; i++) out[i] = this.#uniform24();
      boxMuller(out, start);
    }
    return out;
  }

  #uniform24(): number {
    return (this.#words.next() & 0xffffff) * 2 ** -24;
  }

  #uniform53(): number {
    const high = this.#words.next() & 0x1fffff;
    return (high * 2 ** 32 + this.#words.next()) * 2 ** -53;
  }
}

function boxMuller(values: Float32Array, start: number): void {
  for (let i = start; i < start + HALF; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - (values[i] as number)));
    const angle = 2 * Math.PI * (values[i + HALF] as number);
    values[i] = radius * Math.cos(angle);
    values[i + HALF] = radius * Math.sin(angle);
  }
}

/** The values of `torch.randn(shape, generator=torch.Generator().manual_seed(seed))` in float32 on the CPU. */
export function torchRandn(seed: number, shape: Shape): Float32Array<ArrayBuffer> {
  return new TorchGenerator(seed).randn(shape);
}
