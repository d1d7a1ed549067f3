/** The rule that holds combinations out: a hash of the object's and the background's names, in tenths. */
import { hashText } from "../random.ts";
import type { Attributes, Split } from "../task.ts";

/** Shares of the splits in tenths. Test pictures of seen combinations reuse `train` under seeds that training never uses. */
export const SPLIT_TENTHS = { train: 8, validation: 1, "test-unseen": 1 } as const;

/** The rule in words, for manifests and reports. */
export const SPLIT_RULE =
  "tenth = floor(10 * hash(salt + ':' + object + '/' + background) / 2^32), hash = FNV-1a with MurmurHash3's finaliser; " +
  "0-7 train, 8 validation, 9 test-unseen";

/** The split of a combination. Attributes other than the object's and the background do not count, so that all layouts of a pair share a split. */
export function splitByHash(salt: string, objectAxes: readonly string[], attributes: Attributes): Split {
  const key = `${salt}:${objectAxes.map((axis) => attributes[axis]).join(" ")}/${attributes["background"]}`;
  const tenth = Math.floor((10 * hashText(key)) / 2 ** 32);
  if (tenth < SPLIT_TENTHS.train) return "train";
  return tenth < SPLIT_TENTHS.train + SPLIT_TENTHS.validation ? "validation" : "test-unseen";
}
