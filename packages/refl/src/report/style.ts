/** The report's style sheet: light and dark, readable without colour, and fit for paper. */

/** CSS text for the report's `<style>`. Text colours have a contrast of at least 4.5 on their ground in both schemes. */
export const REPORT_STYLE = `
:root {
  color-scheme: light dark;
  --ground: #fbfbf9; --card: #ffffff; --text: #1d2127; --soft: #59616c; --line: #dcdfe3; --strong: #b9bfc7;
  --judge: #1b5fb8; --reward: #b2480d; --control: #5b6470; --event: #6b3fa0; --good: #17693a; --bad: #a3262a; --tint: #eef3fa;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #15181c; --card: #1d2126; --text: #e9ebee; --soft: #a6afba; --line: #343a42; --strong: #566070;
    --judge: #82b4ff; --reward: #ffad75; --control: #b3bbc6; --event: #c9a6f5; --good: #7fd6a0; --bad: #ff9d9d; --tint: #222a35;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h3 { font-size: 1.02rem; margin: 20px 0 0; }
h2 { font-size: 1.25rem; margin: 48px 0 6px; letter-spacing: -0.005em; }
p { margin: 0 0 12px; max-width: 74ch; text-wrap: pretty; }
.soft { color: var(--soft); }
.meta { display: flex; flex-wrap: wrap; gap: 4px 18px; color: var(--soft); margin: 0 0 24px; padding: 0; list-style: none; font-size: 0.93rem; }
.badge { display: inline-block; border: 1px solid currentColor; border-radius: 999px; padding: 0 9px; font-size: 0.8rem; color: var(--reward); font-weight: 600; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 215px), 1fr)); gap: 14px; margin: 22px 0 0; padding: 0; list-style: none; }
.figures li { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 15px 18px; }
.figures .value { display: block; font-size: 1.65rem; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums; letter-spacing: -0.01em; }
.figures .value small { font-size: 0.95rem; font-weight: 450; color: var(--soft); letter-spacing: 0; }
.good { color: var(--good); } .bad { color: var(--bad); }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 336px), 1fr)); gap: 14px; margin: 14px 0 0; }
.pictures.four { grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); }
.pictures figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 13px 14px 12px; }
.pictures .row { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); gap: 9px; }
.pictures .row > div { text-align: center; font-size: 0.8rem; color: var(--soft); line-height: 1.35; }
.pictures .row strong { display: block; color: var(--text); font-weight: 600; margin-bottom: 4px; }
.pictures img { display: block; width: 100%; height: auto; image-rendering: pixelated; border-radius: 5px; outline: 1px solid var(--line); margin-bottom: 3px; }
.pictures figcaption { margin-top: 8px; font-size: 0.92rem; line-height: 1.35; }
.pictures figcaption span { color: var(--soft); font-size: 0.83rem; display: block; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 18px 20px; margin-top: 14px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 22px; list-style: none; margin: 0 0 6px; padding: 0; font-size: 0.9rem; }
.legend li { display: flex; align-items: center; gap: 8px; }
.key { width: 34px; height: 14px; }
svg .line { fill: none; stroke: currentColor; stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round; }
svg .mark { fill: currentColor; stroke: var(--card); stroke-width: 1.25; }
svg .bar { fill: none; stroke: currentColor; stroke-width: 1.25; opacity: 0.7; }
svg .judge { color: var(--judge); } svg .reward { color: var(--reward); } svg .control { color: var(--control); }
.chart { display: block; width: 100%; height: auto; }
.chart .grid { stroke: var(--line); stroke-width: 1; } .chart .axis { stroke: var(--strong); stroke-width: 1; }
.chart .label { fill: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; } .chart .title { fill: var(--text); font-weight: 550; }
.chart .event { stroke: var(--event); stroke-width: 1.5; stroke-dasharray: 2 4; } .chart .event-label { fill: var(--event); font-weight: 550; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.93rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); font-size: 0.88rem; padding-bottom: 8px; }
th, td { padding: 6px 12px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { border-bottom-color: var(--strong); font-weight: 600; }
tbody th { font-weight: 450; }
tbody.first tr:first-child > *, tr.score > * { font-weight: 650; }
tr.kind th { padding-top: 20px; text-align: left; font-weight: 650; border-bottom-color: var(--strong); }
td.best { background: var(--tint); }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); gap: 14px; }
.two .card { min-width: 0; }
.two h3 { margin: 0 0 8px; }
details { margin-top: 12px; }
summary { cursor: pointer; color: var(--soft); }
summary:focus-visible { outline: 2px solid var(--judge); outline-offset: 3px; border-radius: 3px; }
pre { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px; font: 0.84rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
@media print { body { background: #fff; } main { padding: 0; } figure, .card, .figures li { break-inside: avoid; } }
`;
