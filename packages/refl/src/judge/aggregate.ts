/** Means with standard errors. */

/** Mean and standard error (sample deviation / sqrt(count), 0 for fewer than two) of `count` values. */
export interface Aggregate {
  readonly mean: number;
  readonly standardError: number;
  readonly count: number;
}

/** Mean and standard error of values; NaN mean for none. */
export function aggregate(values: readonly number[]): Aggregate {
  const count = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  if (count < 2) return { mean, standardError: 0, count };
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, standardError: Math.sqrt(squares / (count - 1) / count), count };
}

/** Aggregates of every part; all records must have the first one's parts. */
export function aggregateParts(records: readonly Readonly<Record<string, number>>[]): Record<string, Aggregate> {
  const names = Object.keys(records[0] ?? {});
  return Object.fromEntries(names.map((name) => [name, aggregate(records.map((record) => record[name]!))]));
}
