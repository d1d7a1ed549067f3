/** The summary's schema, the tables, and the report as a parsed page: self-contained, escaped, labelled, and with every figure. */
import { DataError, ShapeError } from "@refl/tensor";
import { describe, expect, it } from "vitest";
import { decodePng, encodePng } from "../../src/io/png.node.ts";
import { renderChart } from "../../src/report/chart.ts";
import {
  checkSummary,
  formatSummary,
  parseSummary,
  reflMinusControl,
  renderReport,
  summaryTables,
} from "../../src/report/index.ts";
import { examplePictures, exampleSummary } from "./example.ts";

interface Element {
  readonly tag: string;
  readonly attributes: Readonly<Record<string, string>>;
}

const VOID = new Set(["meta", "img", "!doctype"]);
const unescapeText = (text: string): string =>
  text
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&quot;", '"')
    .replaceAll("&#39;", "'")
    .replaceAll("&amp;", "&");

/** A strict reader of the report's HTML: throws where elements do not nest, so that a page that passes reads the same everywhere. */
function parseHtml(html: string): { elements: Element[]; text: string } {
  const elements: Element[] = [];
  const open: string[] = [];
  let text = "";
  let at = 0;
  const pattern = /<(\/?)([a-zA-Z!][a-zA-Z0-9]*)((?:\s+[a-zA-Z][a-zA-Z0-9:-]*(?:="[^"<]*")?)*)\s*(\/?)>/g;
  for (const match of html.matchAll(pattern)) {
    const between = html.slice(at, match.index);
    if (open.at(-1) !== "style" && /[<>]/.test(between)) throw new Error(`stray bracket in ${between.slice(0, 80)}`);
    if (open.at(-1) !== "style") text += unescapeText(between);
    at = match.index + match[0].length;
    const [, close, name, attributeText, selfClosing] = match;
    const tag = name!.toLowerCase();
    if (close) {
      if (open.pop() !== tag) throw new Error(`</${tag}> closes nothing`);
      continue;
    }
    const attributes: Record<string, string> = {};
    for (const [, key, value] of attributeText!.matchAll(/([a-zA-Z][a-zA-Z0-9:-]*)(?:="([^"]*)")?/g))
      attributes[key!] = unescapeText(value ?? "");
    elements.push({ tag, attributes });
    if (!selfClosing && !VOID.has(tag)) open.push(tag);
  }
  if (open.length) throw new Error(`left open: ${open.join(", ")}`);
  return { elements, text };
}

const page = async (bestOf4 = true) =>
  renderReport(exampleSummary, examplePictures(bestOf4), (image) => encodePng(image));

describe("summary", () => {
  it("goes through its text unchanged", () => {
    expect(parseSummary(formatSummary(exampleSummary))).toEqual(exampleSummary);
  });

  it("refuses another version, a missing part, an unknown key, NaN and text that is no JSON, with the field", () => {
    const without = { ...exampleSummary, refl: { seen: exampleSummary.refl.seen } };
    expect(() => checkSummary(without, "s.json")).toThrow(/s\.json: refl\.unseen/);
    expect(() => checkSummary({ ...exampleSummary, version: 2 })).toThrow(/version/);
    expect(() => checkSummary({ ...exampleSummary, extra: 1 })).toThrow(/extra/);
    expect(() => checkSummary({ ...exampleSummary, seconds: { load: 1 } })).toThrow(/seconds\.total/);
    expect(() => formatSummary({ ...exampleSummary, seconds: { total: Number.NaN } })).toThrow(DataError);
    expect(() => parseSummary("{", "s.json")).toThrow(/s\.json: not JSON/);
  });

  it("gives the difference to the control with its error", () => {
    const { difference, standardError } = reflMinusControl(exampleSummary, "unseen");
    expect(difference).toBeCloseTo(0.071);
    expect(standardError).toBeCloseTo(0.0153 * Math.SQRT2);
  });

  it("makes one table for unseen and one for seen prompts with all parts", () => {
    const [unseen, seen] = summaryTables(exampleSummary);
    expect(unseen?.header).toEqual(["", "base", "control", "ReFL", "best of 4"]);
    expect(unseen?.rows[0]).toEqual(["score", "0.540 ± 0.015", "0.546 ± 0.015", "0.617 ± 0.015", "0.592 ± 0.015"]);
    expect(unseen?.rows.map((row) => row[0])).toContain("recognised");
    expect(seen?.rows[0]?.[3]).toBe("0.790 ± 0.015");
  });
});

describe("report", () => {
  it("is one well-formed page that loads nothing from outside", async () => {
    const html = await page();
    const { elements } = parseHtml(html);
    expect(elements.filter((e) => ["script", "link", "iframe", "object", "embed", "base"].includes(e.tag))).toEqual([]);
    for (const { attributes } of elements)
      for (const name of ["src", "href", "xlink:href", "srcset", "action", "onload", "onerror"])
        if (attributes[name] !== undefined) expect(attributes[name]).toMatch(/^data:image\/png;base64,/);
    expect(html).not.toMatch(/https?:|url\(|@import/);
    expect(elements.find((e) => e.attributes["http-equiv"])?.attributes["content"]).toContain("default-src 'none'");
  });

  it("shows the very pixels with captions and alternative texts, in columns base, control, ReFL", async () => {
    for (const bestOf4 of [false, true]) {
      const { elements, text } = parseHtml(await page(bestOf4));
      const images = elements.filter((e) => e.tag === "img");
      const arms = bestOf4 ? 4 : 3;
      expect(images).toHaveLength(12 * arms);
      expect(images.slice(0, arms).map((e) => e.attributes["alt"])).toEqual(
        ["base", "control", "ReFL", "best of 4"].slice(0, arms).map((arm) => `${arm}: a cat on a blue background`),
      );
      const bytes = Buffer.from(images[2]!.attributes["src"]!.split(",")[1]!, "base64");
      expect(decodePng(bytes)).toEqual(examplePictures(bestOf4)[0]!.images.refl);
      expect(text).toContain("a <big> fish & chips");
    }
  });

  it("tells every figure: scores with errors, all parts, the adapter, the config", async () => {
    const { text, elements } = parseHtml(await page());
    for (const told of [
      "0.617 ± 0.015",
      "+0.071 ± 0.022",
      "84.3 %",
      "recognised",
      "frechet",
      "llvmpipe",
      "software adapter",
      "4 min 22 s",
      "1204 MiB",
      "</pre><script>alert(1)</script>",
      "kept: step 20",
    ])
      expect(text).toContain(told);
    for (const table of elements.filter((e) => e.tag === "th")) expect(table.attributes["scope"]).toBeTruthy();
    for (const chart of elements.filter((e) => e.tag === "svg" && e.attributes["class"] === "chart"))
      expect(chart.attributes).toMatchObject({ role: "img", "aria-label": expect.stringMatching(/.{20}/) });
    const gpu = { ...exampleSummary, adapter: { ...exampleSummary.adapter, software: false } };
    expect(parseHtml(await renderReport(gpu, [], encodePng)).text).not.toContain("software adapter");
  });

  it("holds with nothing measured during training, and refuses a buffer of the wrong length", async () => {
    const bare = {
      ...exampleSummary,
      curves: { refl: [], control: [] },
      rewardModel: { ...exampleSummary.rewardModel, curve: [] },
    };
    expect(() => parseHtml("")).not.toThrow();
    parseHtml(await renderReport(bare, [], encodePng));
    const [first] = examplePictures(false);
    const wrong = { ...first!, images: { ...first!.images, refl: { width: 2, height: 2, rgb: new Uint8Array(3) } } };
    await expect(renderReport(exampleSummary, [wrong], encodePng)).rejects.toThrow(ShapeError);
  });
});

describe("charts", () => {
  const lineOf = (svg: string) =>
    [...svg.matchAll(/[ML](-?[\d.]+) (-?[\d.]+)/g)].map(([, x, y]) => [Number(x), Number(y)]);

  it("keep every point inside the plot, for flat, single and huge values", () => {
    for (const values of [[0.5, 0.5, 0.5], [3], [-1e9, 1e9], [1e-7, 2e-7], [0.1, 0.30000000000000004]]) {
      const points = values.map((value, step) => ({ step, value }));
      const svg = renderChart({
        title: "t",
        description: "d",
        leftTitle: "l",
        series: [{ name: "s", className: "judge", axis: "left", marker: "none", points }],
      });
      const line = svg.slice(svg.indexOf('class="line"'));
      for (const [x, y] of lineOf(line)) {
        expect(x).toBeGreaterThanOrEqual(58);
        expect(x).toBeLessThanOrEqual(702);
        expect(y).toBeGreaterThanOrEqual(28);
        expect(y).toBeLessThanOrEqual(296);
      }
      expect(svg).not.toMatch(/NaN|Infinity/);
    }
  });
});
