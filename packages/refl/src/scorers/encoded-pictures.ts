/** Image towers run once per picture: their results by the picture's pixels, the most recently used ones kept. */
import { noGrad } from "@refl/autograd";
import { cat, embedding, keep, scope, type Tensor, tensor } from "@refl/tensor";
import { stackPlanes } from "../data/pixels.ts";
import { type Picture, type PictureScorer, squareOf } from "./scorer.ts";

/** 256 MiB: 330 pictures of ImageReward's tower, 80,000 of CLIP's. */
const DEFAULT_BYTES = 2 ** 28;

async function digest(bytes: Uint8Array): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>));
  return Array.from(hash, (b) => b.toString(16).padStart(2, "0")).join("");
}

/** What a scorer's image tower made of pictures. Two pictures whose squares have the same pixels are one. */
export class EncodedPictures {
  readonly #scorer: PictureScorer;
  readonly #limit: number;
  /** In the order of their last use. */
  readonly #kept = new Map<string, Tensor>();
  #bytes = 0;

  /** @param limit bytes on the device that may be kept between calls */
  constructor(scorer: PictureScorer, limit = DEFAULT_BYTES) {
    this.#scorer = scorer;
    this.#limit = limit;
  }

  /** Pictures that are kept. */
  get size(): number {
    return this.#kept.size;
  }

  /** Pictures, at least one → [pictures, …], which the caller disposes. Those that are not kept go through the tower together. Throws `ShapeError`. */
  async encode(pictures: readonly Picture[]): Promise<Tensor> {
    const { device, imageSize: size } = this.#scorer;
    const squares = pictures.map((picture) => squareOf(picture, size));
    const keys = await Promise.all(squares.map(digest));
    const result = noGrad(() =>
      scope(() => {
        const fresh = new Map(keys.map((key, i): [string, Uint8Array] => [key, squares[i]!]));
        for (const key of this.#kept.keys()) fresh.delete(key);
        if (fresh.size > 0) {
          const planes = stackPlanes([...fresh.values()]);
          const encoded = this.#scorer.encodeImages(tensor(device, planes, [fresh.size, 3, size, size]));
          for (const [i, key] of [...fresh.keys()].entries()) {
            const row = keep(encoded.slice(0, i, i + 1).clone());
            this.#kept.set(key, row);
            this.#bytes += 4 * row.numel;
          }
        }
        const rows = keys.map((key) => this.#use(key));
        return cat(rows, 0).alias();
      }),
    );
    this.#forget();
    return result;
  }

  /** Gives back what is kept. */
  dispose(): void {
    for (const row of this.#kept.values()) row.dispose();
    this.#kept.clear();
    this.#bytes = 0;
  }

  #use(key: string): Tensor {
    const row = this.#kept.get(key)!;
    this.#kept.delete(key);
    this.#kept.set(key, row);
    return row;
  }

  #forget(): void {
    for (const [key, row] of this.#kept) {
      if (this.#bytes <= this.#limit) return;
      this.#bytes -= 4 * row.numel;
      row.dispose();
      this.#kept.delete(key);
    }
  }
}

/** A picture of a batch, by its row there, and the prompt that it is scored for. */
export interface ScoredPair {
  readonly row: number;
  readonly prompt: string;
}

/** Distinct prompts in order of appearance, and for each prompt its place among them: text towers read each once. */
export function distinct(prompts: readonly string[]): { readonly texts: string[]; readonly places: number[] } {
  const texts = [...new Set(prompts)];
  const at = new Map(texts.map((text, i) => [text, i]));
  return { texts, places: prompts.map((prompt) => at.get(prompt)!) };
}

/** Rows of a tensor [N, …] in any order → [rows, …]. */
export function rowsOf(table: Tensor, rows: readonly number[]): Tensor {
  const [count, ...rest] = table.shape;
  if (rows.length === count && rows.every((row, i) => row === i)) return table;
  const ids = tensor(table.device, Int32Array.from(rows), [rows.length]);
  return embedding(table.reshape(count!, -1), ids).reshape(rows.length, ...rest);
}

/** Scores of pairs, at most `batchSize` at a time. encoded: what `EncodedPictures` gave. */
export async function scorePairs(
  scorer: PictureScorer,
  encoded: Tensor,
  pairs: readonly ScoredPair[],
  batchSize: number,
): Promise<number[]> {
  const scores: number[] = [];
  for (let first = 0; first < pairs.length; first += batchSize) {
    const batch = pairs.slice(first, first + batchSize);
    const found = noGrad(() =>
      scope(() => {
        const rows = rowsOf(
          encoded,
          batch.map(({ row }) => row),
        );
        return scorer
          .scoreEncoded(
            rows,
            batch.map(({ prompt }) => prompt),
          )
          .alias();
      }),
    );
    try {
      scores.push(...(await found.data()));
    } finally {
      found.dispose();
    }
  }
  return scores;
}

/** Scores of pictures for one prompt, in their order. */
export async function scoreForPrompt(
  scorer: PictureScorer,
  pictures: EncodedPictures,
  prompt: string,
  images: readonly Picture[],
  batchSize: number,
): Promise<number[]> {
  const scores: number[] = [];
  for (let first = 0; first < images.length; first += batchSize) {
    const batch = images.slice(first, first + batchSize);
    using encoded = await pictures.encode(batch);
    const pairs = batch.map((_, row) => ({ row, prompt }));
    scores.push(...(await scorePairs(scorer, encoded, pairs, batchSize)));
  }
  return scores;
}
