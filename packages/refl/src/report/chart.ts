/** Line charts as SVG text: one or two value axes over steps, with error bars, a marked step, and no colour that tells something alone. */

/** One value over the steps. */
export interface ChartSeries {
  readonly name: string;
  /** CSS class that colours the line; one of the report's series classes. */
  readonly className: string;
  readonly axis: "left" | "right";
  readonly marker: "circle" | "square" | "diamond" | "none";
  readonly dashed?: boolean;
  readonly points: readonly { readonly step: number; readonly value: number; readonly error?: number | null }[];
}

/** A chart. All texts are plain and are escaped here. */
export interface Chart {
  readonly title: string;
  readonly description: string;
  readonly leftTitle: string;
  readonly rightTitle?: string;
  readonly series: readonly ChartSeries[];
  /** A vertical line at a step. */
  readonly mark?: { readonly step: number; readonly label: string };
}

const WIDTH = 760;
const HEIGHT = 340;
const MARGIN = { left: 58, right: 58, top: 28, bottom: 44 };
const INTERVALS = 5;

/** Text with the characters escaped that mean something in HTML, SVG and their attributes. */
export function escapeText(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}

interface Scale {
  readonly low: number;
  readonly tick: number;
}

/** Both axes have the same number of intervals, so that one set of grid lines serves both. */
function scaleOf(values: readonly number[], intervals = INTERVALS): Scale {
  let min = Math.min(...values);
  let max = Math.max(...values);
  if (!(max > min)) {
    const around = Math.abs(min) * 0.1 || 0.5;
    min -= around;
    max += around;
  }
  const rough = (max - min) / intervals;
  const power = 10 ** Math.floor(Math.log10(rough));
  for (const factor of [1, 2, 2.5, 5, 10, 20]) {
    const tick = factor * power;
    const low = Math.floor(min / tick + 1e-9) * tick;
    if (low + intervals * tick >= max - 1e-9 * tick) return { low, tick };
  }
  return { low: min, tick: rough };
}

/** A tick's value with as many decimals as its distance to the next one needs. */
function tickLabel(value: number, tick: number): string {
  let digits = 0;
  while (digits < 6 && Math.abs(tick * 10 ** digits - Math.round(tick * 10 ** digits)) > 1e-6) digits++;
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}

/** Whole steps at round places from the first to the last. */
function stepTicks(first: number, last: number): number[] {
  if (last <= first) return [first];
  const rough = (last - first) / 8;
  const power = 10 ** Math.floor(Math.log10(Math.max(1, rough)));
  const tick = Math.max(1, [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough) ?? rough);
  const ticks: number[] = [];
  for (let step = Math.ceil(first / tick) * tick; step <= last; step += tick) ticks.push(step);
  return ticks;
}

const f = (value: number): string => String(Math.round(value * 100) / 100);

function markerOf(series: ChartSeries, x: number, y: number, label: string): string {
  const title = `<title>${escapeText(label)}</title>`;
  if (series.marker === "circle") return `<circle class="mark" cx="${f(x)}" cy="${f(y)}" r="4">${title}</circle>`;
  if (series.marker === "square")
    return `<rect class="mark" x="${f(x - 3.5)}" y="${f(y - 3.5)}" width="7" height="7">${title}</rect>`;
  if (series.marker === "diamond")
    return `<path class="mark" d="M${f(x)} ${f(y - 5)}L${f(x + 5)} ${f(y)}L${f(x)} ${f(y + 5)}L${f(x - 5)} ${f(y)}Z">${title}</path>`;
  return "";
}

/** The chart as one `<svg>` element. Colours come from CSS: classes `grid`, `axis`, `label`, `mark`, and each series' own class. */
export function renderChart(chart: Chart): string {
  const drawn = chart.series.filter((series) => series.points.length > 0);
  const steps = drawn.flatMap((series) => series.points.map((point) => point.step));
  if (chart.mark) steps.push(chart.mark.step);
  const first = steps.length ? Math.min(...steps) : 0;
  const last = steps.length ? Math.max(...steps) : 1;
  const plotWidth = WIDTH - MARGIN.left - MARGIN.right;
  const plotHeight = HEIGHT - MARGIN.top - MARGIN.bottom;
  const bottom = MARGIN.top + plotHeight;
  const right = MARGIN.left + plotWidth;
  const xOf = (step: number): number => MARGIN.left + (plotWidth * (step - first)) / Math.max(1, last - first);
  const scales = {
    left: scaleOf(rangeOf(drawn, "left")),
    right: scaleOf(rangeOf(drawn, "right")),
  };
  const yOf = (axis: "left" | "right", value: number): number =>
    bottom - (plotHeight * (value - scales[axis].low)) / (scales[axis].tick * INTERVALS);
  const parts: string[] = [];
  for (let i = 0; i <= INTERVALS; i++) {
    const y = bottom - (plotHeight * i) / INTERVALS;
    parts.push(
      `<line class="${i === 0 ? "axis" : "grid"}" x1="${MARGIN.left}" x2="${f(right)}" y1="${f(y)}" y2="${f(y)}"/>`,
    );
    const label = (axis: "left" | "right", x: number, anchor: string) =>
      `<text class="label" x="${f(x)}" y="${f(y + 4)}" text-anchor="${anchor}">${tickLabel(scales[axis].low + i * scales[axis].tick, scales[axis].tick)}</text>`;
    parts.push(label("left", MARGIN.left - 8, "end"));
    if (chart.rightTitle !== undefined) parts.push(label("right", right + 8, "start"));
  }
  for (const step of stepTicks(first, last))
    parts.push(
      `<line class="axis" x1="${f(xOf(step))}" x2="${f(xOf(step))}" y1="${f(bottom)}" y2="${f(bottom + 5)}"/>`,
      `<text class="label" x="${f(xOf(step))}" y="${f(bottom + 19)}" text-anchor="middle">${step}</text>`,
    );
  parts.push(
    `<text class="label title" x="${f(MARGIN.left + plotWidth / 2)}" y="${HEIGHT - 6}" text-anchor="middle">step</text>`,
    `<text class="label title" x="${MARGIN.left - 44}" y="14" text-anchor="start">${escapeText(chart.leftTitle)}</text>`,
  );
  if (chart.rightTitle !== undefined)
    parts.push(
      `<text class="label title" x="${f(right + 44)}" y="14" text-anchor="end">${escapeText(chart.rightTitle)}</text>`,
    );
  if (chart.mark) parts.push(renderMark(chart.mark, xOf(chart.mark.step), bottom, right));
  for (const series of drawn) parts.push(renderSeries(series, xOf, (value) => yOf(series.axis, value)));
  return [
    `<svg class="chart" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeText(`${chart.title}. ${chart.description}`)}">`,
    ...parts,
    "</svg>",
  ].join("\n");
}

function rangeOf(drawn: readonly ChartSeries[], axis: "left" | "right"): number[] {
  const values = drawn
    .filter((series) => series.axis === axis)
    .flatMap((series) =>
      series.points.flatMap(({ value, error }) => (error ? [value - error, value + error] : [value])),
    );
  return values.length ? values : [0, 1];
}

function renderMark(mark: { step: number; label: string }, x: number, bottom: number, right: number): string {
  const anchor = x > (MARGIN.left + right) / 2 ? "end" : "start";
  const dx = anchor === "end" ? -6 : 6;
  return [
    `<line class="event" x1="${f(x)}" x2="${f(x)}" y1="${MARGIN.top}" y2="${f(bottom)}"/>`,
    `<text class="label event-label" x="${f(x + dx)}" y="${MARGIN.top + 12}" text-anchor="${anchor}">${escapeText(mark.label)}</text>`,
  ].join("");
}

function renderSeries(series: ChartSeries, xOf: (step: number) => number, yOf: (value: number) => number): string {
  const path = series.points.map(({ step, value }, i) => `${i ? "L" : "M"}${f(xOf(step))} ${f(yOf(value))}`).join("");
  const dash = series.dashed ? ' stroke-dasharray="6 4"' : "";
  const marks = series.points.map(({ step, value, error }) => {
    const x = xOf(step);
    const bar = error
      ? `<path class="bar" d="M${f(x)} ${f(yOf(value - error))}V${f(yOf(value + error))}M${f(x - 3)} ${f(yOf(value - error))}h6M${f(x - 3)} ${f(yOf(value + error))}h6"/>`
      : "";
    const label = `${series.name}, step ${step}: ${value.toFixed(3)}${error ? ` ± ${error.toFixed(3)}` : ""}`;
    return bar + markerOf(series, x, yOf(value), label);
  });
  return `<g class="${series.className}"><path class="line" d="${path}"${dash}/>${marks.join("")}</g>`;
}

/** The key of a chart as an HTML list: each entry shows the line's colour, dashes and marker. */
export function renderLegend(series: readonly ChartSeries[]): string {
  const items = series
    .filter((entry) => entry.points.length > 0)
    .map((entry) => {
      const dash = entry.dashed ? ' stroke-dasharray="6 4"' : "";
      return [
        `<li><svg class="key" viewBox="0 0 34 14" aria-hidden="true"><g class="${entry.className}">`,
        `<path class="line" d="M1 7H33"${dash}/>${markerOf(entry, 17, 7, entry.name)}</g></svg>${escapeText(entry.name)}</li>`,
      ].join("");
    });
  return `<ul class="legend">${items.join("")}</ul>`;
}
