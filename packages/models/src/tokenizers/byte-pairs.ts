/** Byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) over the bytes of a word, each byte written as one printable character. */

/** The 256 bytes as characters, by byte: printable Latin-1 as itself, the rest from U+0100 on, as in GPT-2 and CLIP. */
export const BYTE_SYMBOLS: readonly string[] = (() => {
  const symbols: string[] = [];
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    symbols.push(String.fromCharCode(printable ? byte : next++));
  }
  return symbols;
})();

/** Words whose pieces are remembered. */
const CACHED_WORDS = 20_000;

const encoder = new TextEncoder();

interface Candidate {
  readonly rank: number;
  readonly left: number;
  readonly right: number;
  /** What the two pieces were when the candidate was found: if they have changed since, it is stale. */
  readonly joined: string;
}

const before = (a: Candidate, b: Candidate): boolean => a.rank < b.rank || (a.rank === b.rank && a.left < b.left);

/** A binary heap: a word of n bytes costs n log n however long it is. */
class CandidateHeap {
  readonly #items: Candidate[] = [];

  push(item: Candidate): void {
    const items = this.#items;
    let at = items.push(item) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(item, items[parent] as Candidate)) break;
      items[at] = items[parent] as Candidate;
      at = parent;
    }
    items[at] = item;
  }

  pop(): Candidate | undefined {
    const items = this.#items;
    const top = items[0];
    const last = items.pop();
    if (items.length === 0 || last === undefined) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && before(items[child + 1] as Candidate, items[child] as Candidate)) child++;
      if (!before(items[child] as Candidate, last)) break;
      items[at] = items[child] as Candidate;
      at = child;
    }
    items[at] = last;
    return top;
  }
}

export class BytePairs {
  readonly #ranks: ReadonlyMap<string, number>;
  readonly #suffix: string;
  readonly #cache = new Map<string, readonly string[]>();

  /**
   * @param merges pairs of pieces, joined by one blank, the earliest first
   * @param suffix what the last piece of a word ends with
   */
  constructor(merges: readonly string[], suffix: string) {
    this.#ranks = new Map(merges.map((pair, rank) => [pair, rank]));
    this.#suffix = suffix;
  }

  /** The pieces of one word, in byte symbols. */
  split(word: string): readonly string[] {
    const known = this.#cache.get(word);
    if (known) return known;
    const pieces = this.#merge(Array.from(encoder.encode(word), (byte) => BYTE_SYMBOLS[byte] as string));
    if (this.#cache.size >= CACHED_WORDS) this.#cache.clear();
    this.#cache.set(word, pieces);
    return pieces;
  }

  #merge(pieces: string[]): readonly string[] {
    const count = pieces.length;
    if (count === 0) return pieces;
    pieces[count - 1] += this.#suffix;
    const previous = Int32Array.from({ length: count }, (_, i) => i - 1);
    const next = Int32Array.from({ length: count }, (_, i) => (i + 1 < count ? i + 1 : -1));
    const heap = new CandidateHeap();
    const offer = (left: number, right: number): void => {
      if (left < 0 || right < 0) return;
      const joined = `${pieces[left]} ${pieces[right]}`;
      const rank = this.#ranks.get(joined);
      if (rank !== undefined) heap.push({ rank, left, right, joined });
    };
    for (let i = 0; i + 1 < count; i++) offer(i, i + 1);
    for (let best = heap.pop(); best; best = heap.pop()) {
      const { left, right, joined } = best;
      if (next[left] !== right || `${pieces[left]} ${pieces[right]}` !== joined) continue;
      pieces[left] += pieces[right] as string;
      pieces[right] = "";
      const after = next[right] as number;
      next[left] = after;
      next[right] = -1;
      if (after >= 0) previous[after] = left;
      offer(previous[left] as number, left);
      offer(left, after);
    }
    const merged: string[] = [];
    for (let i = 0; i >= 0; i = next[i] as number) merged.push(pieces[i] as string);
    return merged;
  }
}
