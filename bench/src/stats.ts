/** Statistics of timings: medians, their spread and geometric means. */

/** The middle value, or the mean of the middle two; NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  if (!sorted.length) return Number.NaN;
  return sorted.length % 2 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** The median absolute deviation from the median, unscaled. */
export function mad(values: readonly number[]): number {
  const middle = median(values);
  return median(values.map((value) => Math.abs(value - middle)));
}

/** The geometric mean of positive values; NaN of nothing. */
export function geomean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** What a series of timings is reported as: its median and its spread (MAD), in the unit of the timings. */
export interface Summary {
  readonly median: number;
  readonly mad: number;
}

export const summarize = (values: readonly number[]): Summary => ({ median: median(values), mad: mad(values) });
