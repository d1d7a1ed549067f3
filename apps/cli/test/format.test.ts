/** Numbers, times, sizes and tables as text. */
import { expect, it } from "vitest";
import {
  formatBytes,
  formatClock,
  formatNumber,
  formatRate,
  formatSeconds,
  formatTable,
} from "../src/render/format.ts";

it("formats times, sizes, rates and numbers", () => {
  expect([0, 59.6, 61, 3661].map(formatClock)).toEqual(["0:00", "1:00", "1:01", "1:01:01"]);
  expect([0.4211, 13.44, 245].map(formatSeconds)).toEqual(["0.42 s", "13.4 s", "4:05"]);
  expect([0, 1023, 1536, 5 * 2 ** 30].map(formatBytes)).toEqual(["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
  expect([12.345, 1, 0.25].map(formatRate)).toEqual(["12.3 it/s", "1.00 it/s", "4.00 s/it"]);
  expect([0, 5, 0.12345, 2e-5, 12.345, 1234.5, 2.5e7, -0.5].map(formatNumber)).toEqual([
    "0",
    "5",
    "0.123",
    "2.0e-5",
    "12.35",
    "1235",
    "25000000",
    "-0.500",
  ]);
});

it("aligns numbers to the right and words to the left", () => {
  const table = formatTable(
    ["arm", "score", "seen", "note"],
    [
      ["base", "0.541 ± 0.015", 1.5, "x"],
      ["ReFL", "0.61 ± 0.02", undefined, undefined],
    ],
  );
  expect(table).toBe(
    [
      "arm           score   seen  note",
      "────  ─────────────  ─────  ────",
      "base  0.541 ± 0.015  1.500  x",
      "ReFL    0.61 ± 0.02      –  –",
    ].join("\n"),
  );
});
