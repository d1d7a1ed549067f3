/** Confidence intervals of ratios and means over prompts: pictures of one prompt are no independent draws, so prompts are what is drawn. */
import { intAt, streamOf } from "../data/random.ts";

/** `normal`: the linearised standard error over prompts. `bootstrap`: percentiles over resampled prompts (Efron & Tibshirani 1993, ch. 13). */
export const INTERVAL_KINDS = ["normal", "bootstrap"] as const;

export type IntervalKind = (typeof INTERVAL_KINDS)[number];

export interface IntervalOptions {
  readonly interval: IntervalKind;
  /** Share of such intervals that hold the truth, e.g. 0.95. */
  readonly confidence: number;
  /** Resamples of the bootstrap. */
  readonly resamples: number;
  readonly seed: number;
}

/** A value, and the bounds of its interval; the bounds are the value where there is one prompt only. */
export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
  /** Prompts that it was taken over. */
  readonly prompts: number;
}

/** What one prompt adds to a ratio: correct pairs and pairs, the sum of scores and their number. */
export interface PromptShare {
  readonly sum: number;
  readonly count: number;
}

const RESAMPLE = streamOf("bootstrap resample");

/** Quantile p of the standard normal distribution (Acklam's rational approximation; relative error below 1.2e-9). */
export function normalQuantile(p: number): number {
  const tail = (q: number): number => {
    const numerator =
      ((((-7.784894002430293e-3 * q - 3.223964580411365e-1) * q - 2.400758277161838) * q - 2.549732539343734) * q +
        4.374664141464968) *
        q +
      2.938163982698783;
    const denominator =
      (((7.784695709041462e-3 * q + 3.224671290700398e-1) * q + 2.445134137142996) * q + 3.754408661907416) * q + 1;
    return numerator / denominator;
  };
  const LOW = 0.02425;
  if (p < LOW) return tail(Math.sqrt(-2 * Math.log(p)));
  if (p > 1 - LOW) return -tail(Math.sqrt(-2 * Math.log(1 - p)));
  const q = p - 0.5;
  const r = q * q;
  const numerator =
    (((((-39.69683028665376 * r + 220.9460984245205) * r - 275.9285104469687) * r + 138.357751867269) * r -
      30.66479806614716) *
      r +
      2.506628277459239) *
    q;
  const denominator =
    ((((-54.47609879822406 * r + 161.5858368580409) * r - 155.6989798598866) * r + 66.80131188771972) * r -
      13.28068155288572) *
      r +
    1;
  return numerator / denominator;
}

function ratio(shares: readonly PromptShare[]): number {
  let [sum, count] = [0, 0];
  for (const share of shares) {
    sum += share.sum;
    count += share.count;
  }
  return sum / count;
}

/** Value at share q of sorted values, between neighbours in proportion. */
function percentile(sorted: readonly number[], q: number): number {
  const at = q * (sorted.length - 1);
  const below = Math.floor(at);
  const low = sorted[below]!;
  return low + (at - below) * ((sorted[below + 1] ?? low) - low);
}

/** Σ sum / Σ count over prompts, with its interval. NaN where nothing was counted. */
export function estimate(shares: readonly PromptShare[], options: IntervalOptions): Estimate {
  const used = shares.filter(({ count }) => count > 0);
  const value = ratio(used);
  const prompts = used.length;
  if (prompts < 2) return { value, low: value, high: value, prompts };
  const tail = (1 - options.confidence) / 2;
  if (options.interval === "normal") {
    const mean = used.reduce((total, { count }) => total + count, 0) / prompts;
    // The ratio's error to first order: a prompt's residual over the mean count.
    const squares = used.reduce((total, { sum, count }) => total + ((sum - value * count) / mean) ** 2, 0);
    const error = Math.sqrt(squares / (prompts - 1) / prompts);
    const width = normalQuantile(1 - tail) * error;
    return { value, low: value - width, high: value + width, prompts };
  }
  const found = Array.from({ length: options.resamples }, (_, resample) =>
    ratio(used.map((_, i) => used[intAt(options.seed, RESAMPLE, resample, prompts, i)]!)),
  ).sort((a, b) => a - b);
  return { value, low: percentile(found, tail), high: percentile(found, 1 - tail), prompts };
}

/** The mean of values that belong to prompts, a list each. */
export function estimateMean(groups: readonly (readonly number[])[], options: IntervalOptions): Estimate {
  const shares = groups.map((values) => ({ sum: values.reduce((a, b) => a + b, 0), count: values.length }));
  return estimate(shares, options);
}

/** `0.612 [0.598, 0.626]`. */
export function formatEstimate({ value, low, high }: Omit<Estimate, "prompts">, digits = 3): string {
  const text = (x: number): string => x.toFixed(digits).replace("-", "−");
  return `${text(value)} [${text(low)}, ${text(high)}]`;
}
