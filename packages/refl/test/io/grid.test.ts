/** Grids: places of the pictures, upscaling, gaps, and refusals. */
import { ShapeError } from "@refl/tensor";
import { expect, it } from "vitest";
import { layoutGrid, type RgbImage } from "../../src/io/grid.ts";

const dot = (value: number): RgbImage => ({ width: 1, height: 1, rgb: Uint8Array.of(value, value, value) });
const rows = (grid: { width: number; rgb: Uint8Array }) =>
  Array.from({ length: grid.rgb.length / 3 / grid.width }, (_, y) =>
    Array.from({ length: grid.width }, (_, x) => grid.rgb[(y * grid.width + x) * 3]),
  );

it("lays pictures out row by row with gaps and an empty last place", () => {
  const grid = layoutGrid([dot(1), dot(2), dot(3)], { columns: 2, gap: 1, background: [9, 9, 9] });
  expect(rows(grid)).toEqual([
    [9, 9, 9, 9, 9],
    [9, 1, 9, 2, 9],
    [9, 9, 9, 9, 9],
    [9, 3, 9, 9, 9],
    [9, 9, 9, 9, 9],
  ]);
  expect(grid.columns).toBe(2);
});

it("repeats each pixel scale times", () => {
  const picture: RgbImage = { width: 2, height: 1, rgb: Uint8Array.of(1, 1, 1, 2, 2, 2) };
  expect(rows(layoutGrid([picture], { scale: 2, gap: 0 }))).toEqual([
    [1, 1, 2, 2],
    [1, 1, 2, 2],
  ]);
});

it("takes about a square when no columns are given, and never more columns than pictures", () => {
  expect(layoutGrid(Array.from({ length: 9 }, () => dot(0))).columns).toBe(3);
  expect(layoutGrid([dot(0), dot(1)], { columns: 8 }).columns).toBe(2);
});

it("refuses no pictures, mixed sizes, wrong buffers and a wrong number of captions", () => {
  const wide: RgbImage = { width: 2, height: 1, rgb: new Uint8Array(6) };
  expect(() => layoutGrid([])).toThrow(ShapeError);
  expect(() => layoutGrid([dot(0), wide])).toThrow(/one size/);
  expect(() => layoutGrid([{ width: 2, height: 2, rgb: new Uint8Array(6) }])).toThrow(/2 x 2 x 3/);
  expect(() => layoutGrid([dot(0)], { captions: [] })).toThrow(/caption/);
});
