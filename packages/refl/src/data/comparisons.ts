/** Comparisons of pictures in ImageReward's JSON form, the pairs they give, and the split of those pairs by prompt. */
import { DataError } from "@refl/tensor";
import { wordsOf } from "./combinations.ts";
import { type FaultSink, type JsonRecord, lineOfField, parseJsonRecords, tolerate } from "./json-lines.ts";
import { hashText } from "./random.ts";

/**
 * One ranking of the pictures of one prompt (ImageReward, train/src/rank_pair_dataset.py). `generations` names the pictures; `ranking[i]` is the
 * rank of `generations[i]`, 1 the best, equal ranks being ties. `annotator` is who ranked, when more than one did.
 */
export interface Comparison {
  readonly id: string;
  readonly prompt: string;
  readonly generations: readonly string[];
  readonly ranking: readonly number[];
  readonly annotator?: string;
}

/** A comparison with the line of its file on which it begins. */
export interface LocatedComparison {
  readonly comparison: Comparison;
  readonly line: number;
}

/** A strict preference between two pictures of one prompt. */
export interface PreferencePair {
  readonly id: string;
  readonly prompt: string;
  readonly better: string;
  readonly worse: string;
}

function validate(file: string, record: JsonRecord): Comparison {
  const { value, line } = record;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new DataError(file, line, "", "must be an object with id, prompt, generations and ranking");
  }
  const fields = value as Record<string, unknown>;
  const refuse = (field: string, message: string): never => {
    throw new DataError(file, lineOfField(record, field), field, message);
  };
  const text = (field: string): string => {
    const found = fields[field];
    if (typeof found !== "string" || found === "") return refuse(field, "must be a text that is not empty");
    return found;
  };
  const id = text("id");
  const prompt = text("prompt");
  const { generations, ranking, annotator } = fields;
  if (!Array.isArray(generations) || generations.length < 2) {
    return refuse("generations", "must be a list of at least two picture names");
  }
  for (const [i, name] of generations.entries()) {
    if (typeof name !== "string" || name === "") return refuse("generations", `[${i}] must be a picture's name`);
    if (generations.indexOf(name) !== i) return refuse("generations", `[${i}] "${name}" occurs twice`);
  }
  if (!Array.isArray(ranking)) return refuse("ranking", "must be a list of ranks, 1 the best");
  if (ranking.length !== generations.length) {
    return refuse("ranking", `has ${ranking.length} ranks for ${generations.length} generations`);
  }
  for (const [i, rank] of ranking.entries()) {
    if (!Number.isSafeInteger(rank) || rank < 1) return refuse("ranking", `[${i}] must be a whole number from 1`);
  }
  if (annotator !== undefined && (typeof annotator !== "string" || annotator === "")) {
    return refuse("annotator", "must be a text that is not empty");
  }
  return { id, prompt, generations, ranking, ...(annotator === undefined ? {} : { annotator }) };
}

/** Reads and checks comparisons, a JSON array or JSONL. Other keys of a record are left out. DataError names file, line and field of the first fault. */
export function parseComparisons(file: string, text: string): Comparison[] {
  return locateComparisons(file, text).map(({ comparison }) => comparison);
}

/** As `parseComparisons`, with the line of each; with `faults`, broken records go there and the others are returned. */
export function locateComparisons(file: string, text: string, faults?: FaultSink): LocatedComparison[] {
  return parseJsonRecords(file, text, faults).flatMap((record) => {
    const comparison = tolerate(faults, () => validate(file, record));
    return comparison ? [{ comparison, line: record.line }] : [];
  });
}

/** A JSON array with one comparison on each line. */
export function formatComparisons(comparisons: readonly Comparison[]): string {
  return `[\n${comparisons.map((comparison) => `  ${JSON.stringify(comparison)}`).join(",\n")}\n]\n`;
}

/** Every strict pair i < j of a ranking; equal ranks give none. */
export function pairsOf(comparison: Comparison): PreferencePair[] {
  const { id, prompt, generations, ranking } = comparison;
  const pairs: PreferencePair[] = [];
  for (let i = 0; i < generations.length; i++) {
    for (let j = i + 1; j < generations.length; j++) {
      if (ranking[i] === ranking[j]) continue;
      const [better, worse] = ranking[i]! < ranking[j]! ? [i, j] : [j, i];
      pairs.push({ id, prompt, better: generations[better]!, worse: generations[worse]! });
    }
  }
  return pairs;
}

/** Options of `splitPairs`. `keyOf` says which prompts belong together; without it, those with the same words in the same order do. */
export interface PairSplitOptions {
  readonly validationShare?: number;
  readonly salt?: string;
  readonly keyOf?: (prompt: string) => string;
}

/**
 * Pairs for training and for validation, cut by prompt, never by pair: pairs of one ranking share pictures and would leak. The prompts with the
 * lowest hashes are for validation: `validationShare` (0..1, 0.2 if not given) of them, at least one when there are two.
 */
export function splitPairs(
  comparisons: readonly Comparison[],
  options: PairSplitOptions = {},
): { train: PreferencePair[]; validation: PreferencePair[] } {
  const { validationShare = 0.2, salt = "pairs", keyOf = (prompt: string) => wordsOf(prompt).join(" ") } = options;
  const keys = [...new Set(comparisons.map(({ prompt }) => keyOf(prompt)))];
  const hashes = new Map(keys.map((key) => [key, hashText(`${salt}:${key}`)]));
  keys.sort((a, b) => hashes.get(a)! - hashes.get(b)! || (a < b ? -1 : 1));
  const wanted = validationShare > 0 ? Math.max(1, Math.round(validationShare * keys.length)) : 0;
  const held = new Set(keys.slice(0, Math.min(wanted, keys.length - 1)));
  const train: PreferencePair[] = [];
  const validation: PreferencePair[] = [];
  for (const comparison of comparisons) {
    (held.has(keyOf(comparison.prompt)) ? validation : train).push(...pairsOf(comparison));
  }
  return { train, validation };
}

/** How often two annotators of the same pictures order a pair alike. */
export interface Agreement {
  /** Pairs of pictures that both ordered strictly. */
  readonly pairs: number;
  /** Share of them ordered the same way; NaN when there are none. */
  readonly rate: number;
}

/** Agreement over all pairs of comparisons with the same id and the same pictures from different annotators. */
export function annotatorAgreement(comparisons: readonly Comparison[]): Agreement {
  const byItem = new Map<string, Comparison[]>();
  for (const comparison of comparisons) {
    const list = byItem.get(comparison.id);
    if (list) list.push(comparison);
    else byItem.set(comparison.id, [comparison]);
  }
  let pairs = 0;
  let same = 0;
  for (const list of byItem.values()) {
    for (const [n, first] of list.entries()) {
      const preferred = new Set(pairsOf(first).map(({ better, worse }) => JSON.stringify([better, worse])));
      for (const second of list.slice(n + 1)) {
        if (second.annotator === first.annotator) continue;
        for (const { better, worse } of pairsOf(second)) {
          const alike = preferred.has(JSON.stringify([better, worse]));
          if (!alike && !preferred.has(JSON.stringify([worse, better]))) continue;
          pairs++;
          if (alike) same++;
        }
      }
    }
  }
  return { pairs, rate: same / pairs };
}
