/** Matching the tensors of a file with those a module expects, by key and shape, with one error that lists all that differs. */
import { CheckpointError } from "@refl/tensor";

type Shapes = ReadonlyMap<string, readonly number[]>;

export interface MatchOptions {
  /** From a file's key to the module's: applied to every found key. */
  readonly rename?: (found: string) => string;
  /** Found keys (after renaming) that are dropped unless the module expects them, such as old buffers. */
  readonly ignore?: readonly RegExp[];
  /** When false, missing and unexpected keys are returned instead of thrown; wrong shapes always throw. Default true. */
  readonly strict?: boolean;
}

export interface StateDictMatch {
  /** From the module's key to the file's key, in the module's order. */
  readonly matched: ReadonlyMap<string, string>;
  readonly missing: readonly string[];
  /** The file's keys. */
  readonly unexpected: readonly string[];
}

const LISTED = 6;

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i]);
}

function list(title: string, items: readonly string[]): string[] {
  if (items.length === 0) return [];
  const more = items.length > LISTED ? `, … and ${items.length - LISTED} more` : "";
  return [`${items.length} ${title}: ${items.slice(0, LISTED).join(", ")}${more}`];
}

/**
 * Matches the tensors found in `file` with those expected.
 * @throws CheckpointError listing missing, unexpected and misshapen keys, or two keys of the file that stand for one tensor.
 */
export function matchStateDict(
  file: string,
  expected: Shapes,
  found: Shapes,
  options: MatchOptions = {},
): StateDictMatch {
  const { rename = (key) => key, ignore = [], strict = true } = options;
  const sources = new Map<string, string>();
  const unexpected: string[] = [];
  for (const key of found.keys()) {
    const renamed = rename(key);
    if (!expected.has(renamed)) {
      if (!ignore.some((pattern) => pattern.test(renamed))) unexpected.push(key);
      continue;
    }
    const earlier = sources.get(renamed);
    if (earlier !== undefined) {
      throw new CheckpointError(file, `${earlier} and ${key} both stand for ${renamed}`, { unexpected: [key] });
    }
    sources.set(renamed, key);
  }
  const matched = new Map<string, string>();
  const missing: string[] = [];
  const misshapen: { key: string; expected: readonly number[]; found: readonly number[] }[] = [];
  for (const [key, shape] of expected) {
    const source = sources.get(key);
    const foundShape = source === undefined ? undefined : found.get(source);
    if (source === undefined || !foundShape) missing.push(key);
    else if (sameShape(shape, foundShape)) matched.set(key, source);
    else misshapen.push({ key, expected: shape, found: foundShape });
  }
  if (misshapen.length > 0 || (strict && missing.length + unexpected.length > 0)) {
    const shapes = misshapen.map(
      (bad) => `${bad.key} is [${bad.found.join(", ")}], expected [${bad.expected.join(", ")}]`,
    );
    const parts = [
      ...(strict ? list("missing", missing) : []),
      ...(strict ? list("unexpected", unexpected) : []),
      ...list("of another shape", shapes),
    ];
    throw new CheckpointError(file, `does not fit the model: ${parts.join("; ")}`, { missing, unexpected, misshapen });
  }
  return { matched, missing, unexpected };
}

/**
 * CLIP text keys as released Stable Diffusion folders have them, with the `text_model.` prefix. transformers 5 writes
 * `CLIPTextModel` without it. For `MatchOptions.rename`; a writer writes the prefixed form.
 */
export function clipTextRename(key: string): string {
  return /^(embeddings|encoder|final_layer_norm)\./.test(key) ? `text_model.${key}` : key;
}

/** The position buffer that older transformers wrote into CLIP and BERT checkpoints, for `MatchOptions.ignore`. */
export const POSITION_IDS: RegExp = /(^|\.)embeddings\.position_ids$/;
