/** Random streams of pictures: each picture's noise depends on its own seed and index alone, never on the batch it is made in. */
import { DataError, PhiloxStream } from "@refl/tensor";

/** What a picture's noise is a function of. */
export interface PictureSeed {
  readonly seed: number;
  /** Tells pictures of one seed apart; below 2^22. Default 0. */
  readonly index?: number;
}

/** Streams per picture: one for the initial noise, one for each step, one for what a picture is drawn from. */
const STREAMS = 1024;

/** The draw with which a variational autoencoder encodes the picture that a run begins with. */
export const ENCODING_DRAW: number = STREAMS - 1;

/** One seed for all (indices 0, 1, …), or one for each picture. @throws DataError when the number of seeds is not that of pictures. */
export function pictureSeeds(
  seeds: number | readonly (number | PictureSeed)[],
  pictures: number,
): Required<PictureSeed>[] {
  if (typeof seeds === "number") return Array.from({ length: pictures }, (_, index) => ({ seed: seeds, index }));
  if (seeds.length !== pictures) {
    throw new DataError("sample", 0, "seeds", `${seeds.length} seeds for ${pictures} pictures`);
  }
  return seeds.map((seed) =>
    typeof seed === "number" ? { seed, index: 0 } : { seed: seed.seed, index: seed.index ?? 0 },
  );
}

/** The stream of a picture's initial noise (draw 0) or of the noise of its k-th step (draw k). @throws DataError for an index or draw out of range. */
export function noiseStream({ seed, index = 0 }: PictureSeed, draw: number): PhiloxStream {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new DataError("sample", 0, "seed", `${seed} is no integer from 0 to 2^53 − 1`);
  if (!Number.isInteger(index) || index < 0 || index >= 2 ** 22)
    throw new DataError("sample", 0, "index", `${index} is no integer below 2^22`);
  if (draw >= STREAMS)
    throw new DataError(
      "sample",
      0,
      "steps",
      `noise of step ${draw}; samplers with noise take fewer than ${STREAMS} steps`,
    );
  return new PhiloxStream(seed, index * STREAMS + draw);
}
