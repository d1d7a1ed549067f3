/** The report as one HTML page without scripts: a table with a bar for each engine's time. */
import { type BenchResult, compared, type Row } from "./result.ts";
import { figure } from "./table.ts";

export const escapeHtml = (text: string): string =>
  text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]!);

const STYLE = `
body { font: 14px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1c1c1c; background: #fff }
h2 { margin: 2rem 0 .5rem; font-size: 1.1rem }
.warning { border-left: 4px solid #c77700; padding: .4rem .8rem; background: #fff6e8 }
.row { display: grid; grid-template-columns: 17rem 1fr 4.5rem; gap: 0 1rem; padding: .45rem 0; border-top: 1px solid #e4e4e4 }
.ratio { text-align: right; font-variant-numeric: tabular-nums; font-weight: 600 }
.slow { color: #b00020 }
.bar { display: grid; grid-template-columns: 7rem 1fr; align-items: center; gap: .5rem; font-size: 12px }
.track { position: relative; height: 1.1rem; background: #f2f2f2 }
.fill { height: 100%; background: #9aa4ad }
.refl .fill { background: #2f6fde }
.track span { position: absolute; left: .3rem; top: 0; font-variant-numeric: tabular-nums }
small { color: #666 }
@media (prefers-color-scheme: dark) {
  body { color: #e8e8e8; background: #161616 } .row { border-color: #333 } .track { background: #262626 }
  .fill { background: #56606a } .warning { background: #33270f } small { color: #999 } .slow { color: #ff7a8a }
}
@media (max-width: 40rem) { .row { grid-template-columns: 1fr } .ratio { text-align: left } }
`;

function bars(row: Row): string {
  const names = ["refl", ...Object.keys(row.peersMs)];
  const times = names.map((name) => compared(row, name));
  const longest = Math.max(...times.map((time) => time ?? 0));
  return names
    .map((name, i) => {
      const time = times[i];
      const width = time === undefined || !longest ? 0 : (100 * time) / longest;
      return `<div class="bar ${name === "refl" ? "refl" : ""}"><div>${escapeHtml(name)}</div><div class="track"><div class="fill" style="width:${width.toFixed(1)}%"></div><span>${figure(time)} ms</span></div></div>`;
    })
    .join("");
}

function rowHtml(row: Row): string {
  const times = row.ratio === null ? "–" : `${row.ratio.toFixed(2)}×`;
  const facts = [
    row.gflops === undefined ? "" : `${figure(row.gflops)} GFLOP/s`,
    row.roofline === undefined ? "" : `${(100 * row.roofline).toFixed(0)} % of the roofline`,
    row.ofBest === undefined ? "" : `${(100 * row.ofBest).toFixed(0)} % of the best`,
    row.kernels?.join(", ") ?? "",
    ...Object.entries(row.torchMs ?? {}).map(([name, ms]) => `PyTorch ${name} ${figure(ms)} ms`),
    ...Object.entries(row.notes ?? {}).map(([name, note]) => `${name}: ${note}`),
  ].filter(Boolean);
  const slow = row.ratio !== null && row.ratio < 1 ? " slow" : "";
  return `<div class="row"><div>${escapeHtml(row.name)}<br><small>${escapeHtml(facts.join(" · "))}</small></div><div>${bars(row)}</div><div class="ratio${slow}">${times}</div></div>`;
}

export function renderHtml(result: BenchResult): string {
  const families = [...new Set(result.rows.map(({ family }) => family))];
  const sections = families
    .map((family) => {
      const rows = result.rows.filter((row) => row.family === family);
      return `<h2>${escapeHtml(family)}</h2>${rows.map(rowHtml).join("")}`;
    })
    .join("\n");
  const cpu = result.rows.some((row) => row.cpuMs);
  const warning = result.software
    ? `<p class="warning">A software adapter: these figures say nothing about GPUs. Bars and ratios are CPU time of the driver's threads.</p>`
    : "";
  const engines = Object.entries(result.engines)
    .map(([name, version]) => `${name} ${version}`.trim())
    .join(", ");
  const facts = result.facts
    .map(
      ({ name, value, unit, note }) =>
        `<li>${escapeHtml(name)}: ${figure(value)} ${escapeHtml(unit)}${note ? ` <small>${escapeHtml(note)}</small>` : ""}</li>`,
    )
    .join("");
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Benchmark</title><style>${STYLE}</style>
<h1>Benchmark</h1>
<p>${escapeHtml(result.host)}, ${escapeHtml(result.adapter)}, ${escapeHtml(result.date)}<br>${escapeHtml(engines)}</p>
${warning}
<p>Geometric mean against the fastest peer of each row: <b>${result.geomean === null ? "–" : `${result.geomean.toFixed(2)}×`}</b>. Shorter bars are better${cpu ? "; CPU milliseconds" : "; milliseconds"}.</p>
${sections}
${facts ? `<h2>figures</h2><ul>${facts}</ul>` : ""}
</html>
`;
}
