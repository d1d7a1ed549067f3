/** Random tensors equal their Philox stream element by element, whatever the batch split. */
import { expect, test } from "vitest";
import {
  dropout,
  ones,
  PhiloxStream,
  rand,
  randint,
  randn,
  randperm,
  ShapeError,
  stack,
  tensor,
} from "../src/index.ts";
import { testDevice } from "./device.ts";
import { relativeError } from "./operands.ts";

const device = await testDevice("portable");
const stream = new PhiloxStream(2 ** 40 + 17, 3);
const indices = (n: number, from = 0): number[] => Array.from({ length: n }, (_, i) => from + i);

test("uniform numbers are the stream's, bit for bit, from any block on", async () => {
  expect([...(await rand(device, [7, 11], stream).data())]).toEqual(indices(77).map((i) => stream.uniform(i)));
  expect([...(await rand(device, [5], stream, { offset: 40 }).data())]).toEqual(
    indices(5, 40).map((i) => stream.uniform(i)),
  );
  const wide = await rand(device, [9], stream, { low: -2, high: 3 }).data();
  expect(
    relativeError(
      wide,
      indices(9).map((i) => 5 * stream.uniform(i) - 2),
    ),
  ).toBeLessThan(1e-6);
  expect(() => rand(device, [4], stream, { offset: 2 })).toThrow(ShapeError);
});

test("normal numbers are the stream's", async () => {
  const found = await randn(device, [13, 17], stream).data();
  expect(
    relativeError(
      found,
      indices(221).map((i) => stream.normal(i)),
    ),
  ).toBeLessThan(1e-5);
  const scaled = await randn(device, [10], stream, { mean: 3, std: 0.5 }).data();
  expect(
    relativeError(
      scaled,
      indices(10).map((i) => 3 + 0.5 * stream.normal(i)),
    ),
  ).toBeLessThan(1e-5);
});

test("integers are the stream's, for small and for the largest range", async () => {
  const found = await randint(device, -5, 12, [101], stream).data();
  expect([...found]).toEqual(indices(101).map((i) => stream.integer(i, 17) - 5));
  const wide = await randint(device, -(2 ** 31), 2 ** 31 - 1, [50], stream).data();
  expect([...wide]).toEqual(indices(50).map((i) => stream.integer(i, 2 ** 32 - 1) - 2 ** 31));
  expect(() => randint(device, 3, 3, [1], stream)).toThrow(ShapeError);
});

test("a stream per row gives what each stream gives alone, so the batch may be cut anywhere", async () => {
  const streams = indices(5).map((i) => new PhiloxStream(9, 100 + i));
  for (const columns of [1, 6, 64]) {
    const whole = await randn(device, [5, columns], streams).data();
    const alone = await stack(streams.map((s) => randn(device, [columns], s))).data();
    const halves = [randn(device, [2, columns], streams.slice(0, 2)), randn(device, [3, columns], streams.slice(2))];
    expect([...whole]).toEqual([...alone]);
    expect([...whole]).toEqual([...(await halves[0]!.data()), ...(await halves[1]!.data())]);
  }
  expect(() => rand(device, [4, 2], streams)).toThrow(ShapeError);
});

test("a stream's words as tensor data give the same numbers", async () => {
  const words = tensor(device, Uint32Array.of(...stream.words, 0), [1, 4]);
  expect([...(await rand(device, [3, 5], words).data())]).toEqual([...(await rand(device, [3, 5], stream).data())]);
});

test("a permutation is the stream's", async () => {
  for (const n of [0, 1, 2, 65, 1000]) {
    expect([...(await randperm(device, n, stream).data())]).toEqual(stream.permutation(n));
  }
});

test("moments of 100,000 normals are those of the normal distribution", async () => {
  const n = 100_000;
  const x = Array.from(await randn(device, [n], new PhiloxStream(5)).data());
  const moment = (k: number): number => x.reduce((sum, v) => sum + v ** k / n, 0);
  // Five standard errors, as in the host's test.
  const error = 5 / Math.sqrt(n);
  expect(Math.abs(moment(1))).toBeLessThan(error);
  expect(Math.abs(moment(2) - 1)).toBeLessThan(error * Math.SQRT2);
  expect(Math.abs(moment(3))).toBeLessThan(error * Math.sqrt(15));
  expect(Math.abs(moment(4) - 3)).toBeLessThan(error * Math.sqrt(96));
});

test("dropout keeps the elements whose number reaches p, scaled", async () => {
  const x = ones(device, [200]);
  const found = await dropout(x, 0.25, stream).data();
  const expected = indices(200).map((i) => (stream.uniform(i) >= 0.25 ? 1 / 0.75 : 0));
  expect(relativeError(found, expected)).toBeLessThan(1e-6);
  expect(dropout(x, 0, stream)).toBe(x);
  expect(() => dropout(x, 1, stream)).toThrow(ShapeError);
});
