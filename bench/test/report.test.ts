/** The result file, the table and the page. */
import { expect, it } from "vitest";
import { escapeHtml, renderHtml } from "../src/report/html.ts";
import { type BenchResult, fastestPeer, overallGeomean, problemsOf, type Row } from "../src/report/result.ts";
import { alignCells, figure, renderText, tableCells } from "../src/report/table.ts";
import { mergeTorch } from "../src/report/torch.ts";

const row = (values: Partial<Row>): Row => ({
  name: "matmul 256³",
  family: "matmul",
  direction: "forward",
  oursMs: 1,
  peersMs: { tfjs: 6, "jax-js": 4 },
  ratio: 4,
  checked: true,
  madMs: { refl: 0.01, tfjs: 0.1, "jax-js": 0.2 },
  ...values,
});

const result = (rows: Row[]): BenchResult => ({
  adapter: "mesa llvmpipe <15>",
  software: true,
  host: "node 20",
  date: "2026-01-02T03:04:05.000Z",
  size: "quick",
  engines: { refl: "0.1.0", tfjs: "4.22.0" },
  peak: { gflops: 80, gbytes: 10 },
  rows,
  facts: [{ name: "bundle", value: 61.5, unit: "KB gzip" }],
  geomean: overallGeomean(rows),
});

it("compares with the fastest peer, by CPU time where there is one", () => {
  expect(fastestPeer(row({}))).toEqual({ name: "jax-js", ratio: 4 });
  const cpu = { refl: 2, tfjs: 4, "jax-js": 10 };
  expect(fastestPeer(row({ cpuMs: cpu }))).toEqual({ name: "tfjs", ratio: 2 });
  expect(fastestPeer(row({ peersMs: {} }))).toBeNull();
  expect(fastestPeer(row({ oursMs: null }))).toBeNull();
});

it("takes the mean over rows that a peer ran, host and start-up rows apart", () => {
  expect(overallGeomean([row({ ratio: 2 }), row({ ratio: 8 }), row({ ratio: null })])).toBeCloseTo(4, 12);
  expect(overallGeomean([row({ ratio: 2 }), row({ ratio: 100, direction: "host" })])).toBeCloseTo(2, 12);
  expect(overallGeomean([row({ ratio: null })])).toBeNull();
});

it("accepts what it writes, and says what is wrong with other files", () => {
  expect(problemsOf(JSON.parse(JSON.stringify(result([row({}), row({ ratio: null, peersMs: {} })]))))).toEqual([]);
  expect(problemsOf(null)).toEqual(["not an object"]);
  expect(problemsOf({ ...result([]), software: "no" })).toEqual(["software: not a boolean"]);
  const broken = { ...result([]), rows: [{ ...row({}), oursMs: "1", peersMs: { tfjs: null }, checked: 1 }] };
  expect(problemsOf(broken)).toEqual([
    "rows[0].oursMs: not a number or null",
    "rows[0].peersMs: not numbers by name",
    "rows[0].checked: not a boolean",
  ]);
});

it("writes figures of three digits", () => {
  expect([0.012345, 1.2345, 12.345, 123.45, 12345].map(figure)).toEqual(["0.0123", "1.23", "12.3", "123", "12345"]);
  expect([null, undefined, Number.NaN, 0].map(figure)).toEqual(["–", "–", "–", "0"]);
});

it("aligns cells by their characters", () => {
  expect(
    alignCells([
      ["a", "×"],
      ["long", "12"],
    ]),
  ).toBe("a      ×\nlong  12");
});

it("has a column for each peer and a mark where one failed", () => {
  const cells = tableCells(result([row({}), row({ name: "x", peersMs: { tfjs: 3 }, notes: { "jax-js": "wrong" } })]));
  expect(cells[0]).toEqual(["row (ms)", "refl", "tfjs", "jax-js", "fastest peer", "× faster", "GFLOP/s", "roofline"]);
  expect(cells[1]).toEqual(["matmul 256³", "1.00 ±0.0100", "6.00 ±0.100", "4.00 ±0.200", "jax-js", "4.00×", "–", "–"]);
  expect(cells[2]![3]).toBe("✗");
});

it("marks rows that were not checked, software adapters and CPU times", () => {
  const text = renderText(
    result([row({ checked: false, cpuMs: { refl: 2 }, cpuMadMs: { refl: 0 }, notes: { tfjs: "no kernel" } })]),
  );
  expect(text).toContain("software adapter");
  expect(text).toContain("matmul 256³ (unchecked)");
  expect(text).toContain("CPU ms");
  expect(text).toContain("✗ matmul 256³, tfjs: no kernel");
});

it("draws a bar for each engine, the longest full, and escapes what it shows", () => {
  const page = renderHtml(result([row({})]));
  expect(page.match(/class="fill"/g)).toHaveLength(3);
  expect(page).toContain("width:100.0%");
  expect(page).toContain("width:16.7%");
  expect(page).toContain("llvmpipe &lt;15&gt;");
  expect(page).toContain("say nothing about GPUs");
  expect(page).not.toContain("<script");
  expect(escapeHtml('<a href="&">')).toBe("&lt;a href=&quot;&amp;&quot;&gt;");
});

it("adds PyTorch's times to the rows that it ran", () => {
  const merged = mergeTorch(result([row({}), row({ name: "other" })]), {
    version: "2.9",
    devices: { cpu: { description: "2 threads", rows: { "matmul 256³": 0.5 } } },
  });
  expect(merged.rows.map(({ torchMs }) => torchMs)).toEqual([{ cpu: 0.5 }, undefined]);
  expect(merged.engines["PyTorch"]).toBe("2.9 (cpu: 2 threads)");
  expect(tableCells(merged)[0]!.at(-1)).toBe("PyTorch cpu");
  expect(renderHtml(merged)).toContain("PyTorch cpu 0.500 ms");
});

it("tells a rung's share of the best and the kernels of a row, where there are any", () => {
  const rung = row({ name: "ladder: matmul, shared", peersMs: {}, ratio: null, gflops: 5, ofBest: 0.25 });
  const explained = row({ kernels: ["gemm_subgroup", "copy_flat"] });
  const cells = tableCells(result([rung, explained]));
  expect(cells[0]!.slice(-2)).toEqual(["of the best", "kernels"]);
  expect(cells[1]!.slice(-2)).toEqual(["25 %", "–"]);
  expect(cells[2]!.slice(-2)).toEqual(["–", "gemm_subgroup, copy_flat"]);
  expect(renderHtml(result([rung, explained]))).toContain("25 % of the best");
  expect(renderText({ ...result([row({})]), tune: "online" })).toContain("kernels of refl: online");
});
