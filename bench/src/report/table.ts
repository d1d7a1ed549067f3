/** The terminal's table: a line for each row, grouped by family. */
import { type BenchResult, compared, fastestPeer, type Row } from "./result.ts";

/** Three significant digits, and no exponent where people read milliseconds. */
export function figure(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 4));
}

const ratio = (value: number | null): string => (value === null ? "–" : `${value.toFixed(2)}×`);

const percent = (share: number | undefined): string => (share === undefined ? "–" : `${(100 * share).toFixed(0)} %`);

function spread(row: Row, name: string): string {
  const value = compared(row, name);
  if (value === undefined) return "–";
  const mad = (row.cpuMs ? row.cpuMadMs : row.madMs)?.[name];
  return mad === undefined ? figure(value) : `${figure(value)} ±${figure(mad)}`;
}

function columnsOf(result: BenchResult): { peers: string[]; torch: string[] } {
  const peers = new Set<string>();
  const torch = new Set<string>();
  for (const row of result.rows) {
    for (const name of Object.keys(row.peersMs)) peers.add(name);
    for (const name of Object.keys(row.torchMs ?? {})) torch.add(name);
  }
  return { peers: [...peers], torch: [...torch] };
}

/** The table's head and body as cells. */
export function tableCells(result: BenchResult): string[][] {
  const { peers, torch } = columnsOf(result);
  const cpu = result.rows.some((row) => row.cpuMs);
  const ladders = result.rows.some((row) => row.ofBest !== undefined);
  const explained = result.rows.some((row) => row.kernels);
  const head = [
    cpu ? "row (CPU ms of the driver)" : "row (ms)",
    "refl",
    ...peers,
    "fastest peer",
    "× faster",
    ...(cpu ? ["refl wall"] : []),
    "GFLOP/s",
    "roofline",
    ...(ladders ? ["of the best"] : []),
    ...torch.map((name) => `PyTorch ${name}`),
    ...(explained ? ["kernels"] : []),
  ];
  const body = result.rows.map((row) => {
    const best = fastestPeer(row);
    return [
      row.checked || row.direction === "host" || row.direction === "start" ? row.name : `${row.name} (unchecked)`,
      spread(row, "refl"),
      ...peers.map((name) => (row.notes?.[name] && row.peersMs[name] === undefined ? "✗" : spread(row, name))),
      best?.name ?? "–",
      ratio(row.ratio),
      ...(cpu ? [figure(row.oursMs)] : []),
      figure(row.gflops),
      percent(row.roofline),
      ...(ladders ? [percent(row.ofBest)] : []),
      ...torch.map((name) => figure(row.torchMs?.[name])),
      ...(explained ? [row.kernels?.join(", ") ?? "–"] : []),
    ];
  });
  return [head, ...body];
}

/** Columns aligned by spaces: the first to the left, the others to the right. */
export function alignCells(cells: readonly (readonly string[])[]): string {
  const widths = cells[0]!.map((_, i) => Math.max(...cells.map((line) => [...(line[i] ?? "")].length)));
  const pad = (text: string, i: number): string => {
    const space = " ".repeat(widths[i]! - [...text].length);
    return i ? space + text : text + space;
  };
  return cells.map((line) => line.map(pad).join("  ").trimEnd()).join("\n");
}

/** The whole report as text. */
export function renderText(result: BenchResult): string {
  const lines = [
    `${result.host}, ${result.adapter}${result.software ? " (software adapter: says nothing about GPUs)" : ""}, ${result.date}`,
    Object.entries(result.engines)
      .map(([name, version]) => `${name} ${version}`.trim())
      .join(", "),
  ];
  if (result.tune && result.tune !== "off") lines.push(`kernels of refl: ${result.tune}`);
  if (result.peak)
    lines.push(`measured peak: ${figure(result.peak.gflops)} GFLOP/s, ${figure(result.peak.gbytes)} GB/s`);
  lines.push("", alignCells(tableCells(result)), "");
  for (const { name, value, unit, note } of result.facts)
    lines.push(`${name}: ${figure(value)} ${unit}${note ? ` (${note})` : ""}`);
  if (result.facts.length) lines.push("");
  for (const row of result.rows)
    for (const [name, note] of Object.entries(row.notes ?? {})) lines.push(`✗ ${row.name}, ${name}: ${note}`);
  lines.push(
    result.geomean === null
      ? "no row that a peer ran"
      : `geometric mean against the fastest peer of each row: ${ratio(result.geomean)}`,
  );
  return lines.join("\n");
}
