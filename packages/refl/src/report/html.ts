/** `report.html`: the run's summary and pictures as one self-contained page. */
import { ShapeError } from "@refl/tensor";
import type { RgbImage } from "../io/grid.ts";
import { type Chart, type ChartSeries, escapeText, renderChart, renderLegend } from "./chart.ts";
import { REPORT_STYLE } from "./style.ts";
import { ARM_TITLES, ARMS, type ArmName, type CurvePoint, checkSummary, type DemoSummary } from "./summary.ts";
import {
  formatDifference,
  formatMean,
  formatPart,
  PROMPT_KINDS,
  type PromptKind,
  partNames,
  reflMinusControl,
} from "./table.ts";

/** One prompt drawn by the arms from the same seed. `bestOf4` and the judge's scores may be left out. */
export interface ReportPicture {
  readonly caption: string;
  readonly kind: PromptKind;
  readonly seed: number;
  readonly images: Readonly<Record<Exclude<ArmName, "bestOf4">, RgbImage> & Partial<Record<"bestOf4", RgbImage>>>;
  readonly scores?: Readonly<Partial<Record<ArmName, number>>>;
}

/** Makes PNG bytes of a picture: pngjs on Node, a canvas in the browser. */
export type PngEncoder = (image: RgbImage) => Uint8Array | Promise<Uint8Array>;

const KIND_HEADINGS: Readonly<Record<PromptKind, string>> = {
  unseen: "Unseen combinations",
  seen: "Seen combinations, new seeds",
};

function base64(bytes: Uint8Array): string {
  let binary = "";
  for (let i = 0; i < bytes.length; i += 0x8000) binary += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(binary);
}

const seconds = (value: number): string =>
  value >= 90
    ? `${Math.floor(value / 60)} min ${String(Math.round(value % 60)).padStart(2, "0")} s`
    : `${value.toFixed(1)} s`;

const signed = (value: number): string => value.toFixed(3).replace("-", "−");

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

function header(summary: DemoSummary): string {
  const { adapter } = summary;
  const device = adapter.description || adapter.device || adapter.architecture || adapter.vendor || "unnamed adapter";
  const software = adapter.software
    ? ' <span class="badge" title="Its times say nothing about GPUs">software adapter</span>'
    : "";
  return [
    `<h1>ReFL, before and after: taste “${escapeText(summary.taste)}”</h1>`,
    '<p class="soft">A text-to-image model drew pictures, a simulated annotator ranked them, a reward model learnt from the rankings, and ReFL sent the reward’s',
    "gradient back into the model. An independent judge and a control arm (same data, same steps, no reward) say what came of it.</p>",
    '<ul class="meta">',
    `<li>task ${escapeText(summary.task)}</li><li>seed ${summary.seed}</li><li>${escapeText(device)}${software}</li>`,
    `<li><time datetime="${escapeText(summary.createdAt)}">${escapeText(summary.createdAt.slice(0, 16).replace("T", " "))} UTC</time></li>`,
    "</ul>",
  ].join("\n");
}

function figures(summary: DemoSummary): string {
  const unseen = reflMinusControl(summary, "unseen");
  const seen = reflMinusControl(summary, "seen");
  const tone = (difference: number): string => (difference >= 0 ? "good" : "bad");
  const item = (value: string, text: string, className = ""): string =>
    `<li><span class="value ${className}">${value}</span>${text}</li>`;
  return [
    '<ul class="figures">',
    item(
      formatDifference(unseen.difference, unseen.standardError).replace(/( ± .*)/, "<small>$1</small>"),
      "ReFL minus control, judge’s score on unseen prompts",
      tone(unseen.difference),
    ),
    item(
      formatDifference(seen.difference, seen.standardError).replace(/( ± .*)/, "<small>$1</small>"),
      "the same on seen prompts",
      tone(seen.difference),
    ),
    item(
      `${(100 * summary.rewardModel.heldOutAccuracy).toFixed(1)} %<small> of ${summary.rewardModel.heldOutPairs}</small>`,
      "of held-out pairs the reward model ranks as the annotator did",
    ),
    item(seconds(summary.seconds.total), "for the whole loop on this adapter"),
    "</ul>",
  ].join("\n");
}

async function picture(entry: ReportPicture, encodePng: PngEncoder): Promise<string> {
  const cells: string[] = [];
  for (const arm of ARMS) {
    const image = entry.images[arm];
    if (!image) continue;
    const source = `data:image/png;base64,${base64(await encodePng(image))}`;
    const score = entry.scores?.[arm];
    cells.push(
      `<div><strong>${ARM_TITLES[arm]}</strong><img src="${source}" width="${image.width}" height="${image.height}" alt="${escapeText(`${ARM_TITLES[arm]}: ${entry.caption}`)}">` +
        `${score === undefined ? "" : `<span title="judge’s score">${score.toFixed(2)}</span>`}</div>`,
    );
  }
  return `<figure><div class="row">${cells.join("")}</div><figcaption>${escapeText(entry.caption)}<span>seed ${entry.seed}</span></figcaption></figure>`;
}

async function pictures(entries: readonly ReportPicture[], encodePng: PngEncoder): Promise<string> {
  const blocks: string[] = [];
  for (const kind of PROMPT_KINDS) {
    const chosen = entries.filter((entry) => entry.kind === kind);
    if (!chosen.length) continue;
    const four = chosen.some((entry) => entry.images.bestOf4) ? " four" : "";
    const drawn: string[] = [];
    for (const entry of chosen) drawn.push(await picture(entry, encodePng));
    blocks.push(`<h3>${KIND_HEADINGS[kind]}</h3><div class="pictures${four}">${drawn.join("\n")}</div>`);
  }
  if (!blocks.length) return "";
  return [
    "<section><h2>Before and after, from the same seeds</h2>",
    '<p class="soft">Each row is one prompt and one noise seed. The number below a picture is the judge’s score, 0 to 1.</p>',
    ...blocks,
    "</section>",
  ].join("\n");
}

function series(
  points: readonly CurvePoint[],
  field: "reward" | "judge",
): { step: number; value: number; error?: number | null }[] {
  return points.flatMap((point) => {
    const value = point[field];
    if (value === null) return [];
    return [{ step: point.step, value, ...(field === "judge" ? { error: point.judgeStandardError } : {}) }];
  });
}

/** Above so many points a line goes without markers. */
const MOST_MARKERS = 40;

/** The chart of rewards and judge's scores over the steps, the kept step marked. */
export function trainingChart(summary: DemoSummary): Chart {
  const { curves, earlyStop } = summary;
  const rewards = series(curves.refl, "reward");
  const chartSeries: ChartSeries[] = [
    {
      name: "reward model’s reward, ReFL",
      className: "reward",
      axis: "right",
      marker: rewards.length > MOST_MARKERS ? "none" : "square",
      points: rewards,
    },
    {
      name: "judge’s score, control",
      className: "control",
      axis: "left",
      marker: "diamond",
      dashed: true,
      points: series(curves.control, "judge"),
    },
    {
      name: "judge’s score, ReFL",
      className: "judge",
      axis: "left",
      marker: "circle",
      points: series(curves.refl, "judge"),
    },
  ];
  return {
    title: "Reward and judge over the steps",
    description: `The reward model’s reward and the judge’s score on validation prompts; the weights of step ${earlyStop.step} were kept.`,
    leftTitle: "judge’s score, validation prompts",
    rightTitle: "reward",
    series: chartSeries,
    mark: { step: earlyStop.step, label: `kept: step ${earlyStop.step}` },
  };
}

function curveTable(chart: Chart): string {
  const steps = [...new Set(chart.series.flatMap((entry) => entry.points.map((point) => point.step)))].sort(
    (a, b) => a - b,
  );
  const rows = steps.map((step) => {
    const cells = chart.series.map((entry) => {
      const point = entry.points.find((candidate) => candidate.step === step);
      return `<td>${point ? formatMean(point.value, point.error ?? null) : "–"}</td>`;
    });
    return `<tr><th scope="row">${step}</th>${cells.join("")}</tr>`;
  });
  const head = chart.series.map((entry) => `<th scope="col">${escapeText(entry.name)}</th>`).join("");
  return `<details><summary>The same as a table</summary><div class="scroll"><table><thead><tr><th scope="col">step</th>${head}</tr></thead><tbody>${rows.join("")}</tbody></table></div></details>`;
}

function training(summary: DemoSummary): string {
  const chart = trainingChart(summary);
  const { step, lastStep, stoppedEarly } = summary.earlyStop;
  const stop = stoppedEarly
    ? `Training stopped at step ${lastStep}, as the judge on validation prompts saw nothing better than step ${step}; the weights of step ${step} were kept.`
    : `Training ran to its last step, ${lastStep}; the weights of step ${step}, the best by the judge on validation prompts, were kept.`;
  return [
    "<section><h2>Reward and judge over the steps</h2>",
    `<p class="soft">Where the reward still rises while the judge’s score falls, the model pleases the reward model instead of the taste. ${stop}</p>`,
    `<div class="card">${renderLegend(chart.series)}${renderChart(chart)}${curveTable(chart)}</div></section>`,
  ].join("\n");
}

/** Parts of which more is better whatever the taste: the arm with most is marked. */
const BETTER = new Set(["score", "fidelity", "object", "recognised", "diversity"]);

function bestArms(values: readonly (number | undefined)[], name: string): boolean[] {
  const known = values.filter((value): value is number => value !== undefined);
  if (!BETTER.has(name) || known.length < 2) return values.map(() => false);
  const best = Math.max(...known);
  // Nothing is marked where all arms are equal.
  return values.map((value) => value === best && known.some((other) => other !== best));
}

function judgeTable(summary: DemoSummary): string {
  const cells = (texts: readonly string[], best: readonly boolean[]): string =>
    texts.map((text, i) => `<td${best[i] ? ' class="best"' : ""}>${text}</td>`).join("");
  const body = PROMPT_KINDS.map((kind) => {
    const judgements = ARMS.map((arm) => summary[arm][kind]);
    const score = cells(
      judgements.map((judgement) => formatMean(judgement.score, judgement.standardError)),
      bestArms(
        judgements.map((judgement) => judgement.score),
        "score",
      ),
    );
    const rows = partNames(summary).map((name) => {
      const best = bestArms(
        judgements.map((judgement) => judgement.parts[name]?.mean),
        name,
      );
      const texts = judgements.map((judgement) => formatPart(judgement, name));
      return `<tr><th scope="row">${escapeText(name)}</th>${cells(texts, best)}</tr>`;
    });
    return [
      `<tbody><tr class="kind"><th colspan="${ARMS.length + 1}" scope="rowgroup">${KIND_HEADINGS[kind]} <span class="soft">(${judgements[0]!.pictures} pictures per arm)</span></th></tr>`,
      `<tr class="score"><th scope="row">score</th>${score}</tr>`,
      ...rows,
      "</tbody>",
    ].join("");
  });
  const head = ARMS.map((arm) => `<th scope="col">${ARM_TITLES[arm]}</th>`).join("");
  return [
    "<section><h2>What the judge says</h2>",
    '<p class="soft">All arms drew the same prompts from the same seeds. Best of 4: the base model’s picture that the reward model likes best of four.',
    "A shaded cell is the best of its row, where more is better whatever the taste.</p>",
    '<div class="card scroll"><table><caption>Mean ± standard error</caption>',
    `<thead><tr><th scope="col"><span class="soft">part</span></th>${head}</tr></thead>`,
    ...body,
    "</table></div></section>",
  ].join("\n");
}

function keyTable(title: string, rows: readonly (readonly [string, string])[]): string {
  const body = rows.map(
    ([key, value]) => `<tr><th scope="row">${escapeText(key)}</th><td>${escapeText(value)}</td></tr>`,
  );
  return `<div class="card"><h3>${escapeText(title)}</h3><table><tbody>${body.join("")}</tbody></table></div>`;
}

function rewardModel(summary: DemoSummary): string {
  const { rewardModel: model } = summary;
  const chart: Chart = {
    title: "Training of the reward model",
    description: `The pair loss over the steps; ${(100 * model.heldOutAccuracy).toFixed(1)} % of the held-out pairs right with the kept weights.`,
    leftTitle: "pairs right",
    rightTitle: "pair loss",
    series: [
      {
        name: "training pair loss",
        className: "reward",
        axis: "right",
        marker: "none",
        points: model.curve.map(({ step, loss }) => ({ step, value: loss })),
      },
      {
        name: "held-out pairs right",
        className: "judge",
        axis: "left",
        marker: "circle",
        points: model.curve.flatMap(({ step, heldOutAccuracy }) =>
          heldOutAccuracy === null ? [] : [{ step, value: heldOutAccuracy }],
        ),
      },
    ],
  };
  const drawn = model.curve.length ? `${renderLegend(chart.series)}${renderChart(chart)}` : "";
  return [
    "<section><h2>The reward model</h2>",
    `<p class="soft">${model.trainingPairs} training pairs; ${(100 * model.heldOutAccuracy).toFixed(1)} % of ${model.heldOutPairs} pairs of held-out prompts right.`,
    `Its rewards are normalised by their mean ${signed(model.mean)} and deviation ${model.deviation.toFixed(3)}.</p>`,
    drawn ? `<div class="card">${drawn}</div>` : "",
    "</section>",
  ].join("\n");
}

function machine(summary: DemoSummary): string {
  const { adapter, software } = summary;
  const stages = Object.entries(summary.seconds).filter(([name]) => name !== "total");
  return [
    "<section><h2>Where and how it ran</h2>",
    adapter.software
      ? '<p><span class="badge">software adapter</span> <span class="soft">The GPU’s work was done by the processor: these times say nothing about GPUs.</span></p>'
      : "",
    '<div class="two">',
    keyTable("Adapter", [
      ["device", adapter.description || adapter.device || "–"],
      ["vendor", adapter.vendor || "–"],
      ["architecture", adapter.architecture || "–"],
      ["host", adapter.host],
      ["peak memory, host", mebibytes(summary.peakBytes.host)],
      ["peak memory, device", mebibytes(summary.peakBytes.device)],
      ...Object.entries(software),
    ]),
    keyTable("Time", [
      ...stages.map(([name, value]): [string, string] => [name, seconds(value)]),
      ["total", seconds(summary.seconds.total)],
    ]),
    "</div>",
    `<details><summary>Checkpoints and config</summary><pre>${escapeText(JSON.stringify({ checkpoints: summary.checkpoints, config: summary.config }, null, 2))}</pre></details>`,
    "</section>",
  ].join("\n");
}

/**
 * One HTML page without scripts or outside resources: pictures are PNG data URIs from `encodePng`, charts are inline SVG. All texts are escaped,
 * and a content security policy forbids whatever is not in the page. Throws `DataError` for an invalid summary, `ShapeError` for a wrong picture buffer.
 */
export async function renderReport(
  summary: DemoSummary,
  images: readonly ReportPicture[],
  encodePng: PngEncoder,
): Promise<string> {
  checkSummary(summary);
  for (const entry of images)
    for (const image of Object.values(entry.images))
      if (image.rgb.length !== image.width * image.height * 3)
        throw new ShapeError(
          "renderReport",
          [[image.rgb.length]],
          `expected ${image.height} x ${image.width} x 3 bytes`,
        );
  return [
    "<!doctype html>",
    '<html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">`,
    `<title>ReFL report: ${escapeText(summary.taste)} on ${escapeText(summary.task)}, seed ${summary.seed}</title>`,
    `<style>${REPORT_STYLE}</style></head><body><main>`,
    `<header>${header(summary)}</header>`,
    figures(summary),
    await pictures(images, encodePng),
    training(summary),
    judgeTable(summary),
    rewardModel(summary),
    machine(summary),
    "</main></body></html>\n",
  ].join("\n");
}
