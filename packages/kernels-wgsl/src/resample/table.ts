/** Weight tables of one resampled axis, as PyTorch's `interpolate` with `align_corners=False` computes them, in float64. */

export type ResizeMode = "bilinear" | "bicubic";

/** Result r is Σ weights[r · taps + k] · source[starts[r] + k] over k < counts[r]. */
export interface AxisTable {
  /** Source and result sizes. */
  readonly size: number;
  readonly result: number;
  readonly starts: readonly number[];
  readonly counts: readonly number[];
  readonly weights: Float64Array;
  /** The largest count: the stride of `weights`. */
  readonly taps: number;
}

/** Keys' cubic convolution kernel with parameter `a` at distance x. */
function cubic(x: number, a: number): number {
  const d = Math.abs(x);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

const triangle = (x: number): number => Math.max(0, 1 - Math.abs(x));

/** Weights of one result by source index, ascending. */
type Row = Map<number, number>;

/** Without anti-aliasing: two or four neighbours of the result's centre; those beyond an edge fall on the edge. */
function plainRow(centre: number, size: number, mode: ResizeMode): Row {
  const row: Row = new Map();
  const at = mode === "bilinear" ? Math.max(0, centre) : centre;
  const base = Math.floor(at);
  const t = at - base;
  const [from, to] = mode === "bilinear" ? [0, 1] : [-1, 2];
  for (let k = from; k <= to; k++) {
    const index = Math.min(Math.max(base + k, 0), size - 1);
    // PyTorch's parameter is -0.75 here and -0.5 (Pillow's) with anti-aliasing.
    const weight = mode === "bilinear" ? triangle(k - t) : cubic(k - t, -0.75);
    row.set(index, (row.get(index) ?? 0) + weight);
  }
  return row;
}

/** With anti-aliasing: the filter is stretched by the shrinking factor, cut at the edges and normalised. */
function antialiasRow(r: number, size: number, scale: number, mode: ResizeMode): Row {
  const stretch = Math.max(scale, 1);
  const support = (mode === "bilinear" ? 1 : 2) * stretch;
  const centre = scale * (r + 0.5);
  const first = Math.max(Math.trunc(centre - support + 0.5), 0);
  const end = Math.min(Math.trunc(centre + support + 0.5), size);
  const row: Row = new Map();
  let total = 0;
  for (let i = first; i < end; i++) {
    const x = (i - centre + 0.5) / stretch;
    const weight = mode === "bilinear" ? triangle(x) : cubic(x, -0.5);
    row.set(i, weight);
    total += weight;
  }
  if (total !== 0) for (const [i, weight] of row) row.set(i, weight / total);
  return row;
}

function fromRows(size: number, result: number, rows: readonly Row[]): AxisTable {
  const taps = Math.max(1, ...rows.map((row) => row.size));
  const weights = new Float64Array(result * taps);
  const starts = rows.map((row) => row.keys().next().value ?? 0);
  rows.forEach((row, r) => {
    for (const [i, weight] of row) weights[r * taps + i - starts[r]!] = weight;
  });
  return { size, result, starts, counts: rows.map((row) => row.size), weights, taps };
}

/** The table that brings an axis from `size` to `result` elements. Sources of one result are neighbours. */
export function resizeTable(size: number, result: number, mode: ResizeMode, antialias: boolean): AxisTable {
  const scale = size / result;
  const rows = Array.from({ length: result }, (_, r) =>
    antialias ? antialiasRow(r, size, scale, mode) : plainRow(scale * (r + 0.5) - 0.5, size, mode),
  );
  return fromRows(size, result, rows);
}

/** The transposed table, for gradients: the results that use one source are neighbours too, because starts and ends ascend. */
export function transposeTable(table: AxisTable): AxisTable {
  const rows: Row[] = Array.from({ length: table.size }, () => new Map());
  for (let r = 0; r < table.result; r++) {
    for (let k = 0; k < table.counts[r]!; k++) rows[table.starts[r]! + k]!.set(r, table.weights[r * table.taps + k]!);
  }
  return fromRows(table.result, table.size, rows);
}
