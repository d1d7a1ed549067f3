/** Numbers, times, sizes and tables as people read them. */

/** Seconds as `m:ss` or `h:mm:ss`. */
export function formatClock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const h = Math.floor(whole / 3600);
  const m = Math.floor((whole % 3600) / 60);
  const s = String(whole % 60).padStart(2, "0");
  return h ? `${h}:${String(m).padStart(2, "0")}:${s}` : `${m}:${s}`;
}

/** Seconds as a length of time: `0.42 s`, `13.4 s`, `4:05`. */
export function formatSeconds(seconds: number): string {
  if (seconds >= 100) return formatClock(seconds);
  return `${seconds.toPrecision(seconds < 1 ? 2 : 3)} s`;
}

/** Bytes with a binary unit: `1.5 GiB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toPrecision(value >= 100 ? 3 : 2)} ${units[unit]}`;
}

/** A number with about three digits that count: `0.123`, `2.0e-5`, `12.3`, `1234`. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (value === 0 || Number.isSafeInteger(value)) return String(value);
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e6) return value.toExponential(1);
  if (size >= 1000) return value.toFixed(0);
  return value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 3);
}

/** Steps per second: `12.3 it/s`, or `4.2 s/it` below one. */
export function formatRate(perSecond: number): string {
  return perSecond >= 1 ? `${perSecond.toPrecision(3)} it/s` : `${(1 / perSecond).toPrecision(3)} s/it`;
}

type Cell = string | number | undefined;

const cellText = (cell: Cell): string =>
  cell === undefined ? "–" : typeof cell === "number" ? formatNumber(cell) : cell;

/** Whether a text reads as a number (with an error, a percent sign or a dash for none), and so belongs to the right. */
const isNumeric = (text: string): boolean => /^(?:[+\-−]?\d[\d.e+-]*%?(?: ± [\d.e+-]+)?|–|)$/.test(text);

/** Text of a table with a header line and a rule; the first column to the left, columns of numbers to the right. */
export function formatTable(header: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const body = rows.map((row) => header.map((_, column) => cellText(row[column])));
  const right = header.map((_, column) => column > 0 && body.every((row) => isNumeric(row[column]!)));
  const widths = header.map((title, column) => Math.max(title.length, ...body.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (right[column] ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
      .join("  ")
      .trimEnd();
  const rule = widths.map((width) => "─".repeat(width)).join("  ");
  return [line(header), rule, ...body.map(line)].join("\n");
}
