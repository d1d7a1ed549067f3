/** Diversity, the Fréchet distance and its eigenvalue solver, and aggregates, against closed forms. */
import { ShapeError } from "@refl/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { normalAt } from "../../src/data/random.ts";
import { aggregate, aggregateParts } from "../../src/judge/aggregate.ts";
import { pairwiseDiversity } from "../../src/judge/diversity.ts";
import { fitGaussian, frechetDistance, type Gaussian, symmetricEigen } from "../../src/judge/frechet.ts";

const gaussian = (mean: number[], covariance: number[]): Gaussian => ({
  mean: Float64Array.from(mean),
  covariance: Float64Array.from(covariance),
});

describe("Fréchet distance", () => {
  it("equals the closed form of diagonal Gaussians", () => {
    const entry = fc.double({ min: 0, max: 50, noNaN: true });
    fc.assert(
      fc.property(fc.array(fc.tuple(entry, entry, entry, entry), { minLength: 1, maxLength: 6 }), (rows) => {
        const d = rows.length;
        const diagonal = (values: number[]): number[] =>
          Array.from({ length: d * d }, (_, i) => (i % (d + 1) === 0 ? values[i / (d + 1)]! : 0));
        const first = gaussian(
          rows.map((r) => r[0]),
          diagonal(rows.map((r) => r[1] ** 2)),
        );
        const second = gaussian(
          rows.map((r) => r[2]),
          diagonal(rows.map((r) => r[3] ** 2)),
        );
        const expected = rows.reduce((sum, [m, s, n, t]) => sum + (m - n) ** 2 + (s - t) ** 2, 0);
        expect(frechetDistance(first, second)).toBeCloseTo(expected, 6);
      }),
    );
  });

  it("equals the closed form of two dimensions with correlation", () => {
    // tr((AB)^½) = sqrt(tr(AB) + 2 sqrt(det(AB))) for 2 x 2 matrices.
    const a = [2, 0.5, 0.5, 1];
    const b = [1, -0.3, -0.3, 3];
    const traceAb = a[0]! * b[0]! + a[1]! * b[2]! + a[2]! * b[1]! + a[3]! * b[3]!;
    const detAb = (a[0]! * a[3]! - a[1]! * a[2]!) * (b[0]! * b[3]! - b[1]! * b[2]!);
    const expected = 1 + 4 + 3 + 4 - 2 * Math.sqrt(traceAb + 2 * Math.sqrt(detAb));
    expect(frechetDistance(gaussian([0, 0], a), gaussian([1, 2], b))).toBeCloseTo(expected, 12);
  });

  it("is zero for equal and singular Gaussians and symmetric otherwise", () => {
    const features = Float64Array.from({ length: 20 * 30 }, (_, i) => normalAt(1, 1, i));
    const others = Float64Array.from({ length: 90 * 30 }, (_, i) => 1 + 2 * normalAt(1, 2, i));
    const first = fitGaussian(features, 30);
    const second = fitGaussian(others, 30);
    expect(frechetDistance(first, first)).toBeLessThan(1e-6);
    expect(frechetDistance(first, second)).toBeCloseTo(frechetDistance(second, first), 5);
    expect(frechetDistance(first, second)).toBeGreaterThan(10);
  });

  it("refuses features that fit no Gaussian", () => {
    expect(() => fitGaussian([1, 2, 3], 2)).toThrow(ShapeError);
    expect(() => fitGaussian([1, 2], 2)).toThrow(ShapeError);
    expect(() => frechetDistance(gaussian([0], [1]), gaussian([0, 0], [1, 0, 0, 1]))).toThrow(ShapeError);
  });

  it("rests on eigenvectors that rebuild the matrix", () => {
    const d = 24;
    const matrix = new Float64Array(d * d);
    for (let i = 0; i < d; i++) {
      for (let j = 0; j <= i; j++) matrix[i * d + j] = matrix[j * d + i] = normalAt(9, i, j);
    }
    const { values, vectors } = symmetricEigen(matrix, d);
    for (let i = 0; i < d; i++) {
      for (let j = 0; j < d; j++) {
        let rebuilt = 0;
        for (let k = 0; k < d; k++) rebuilt += vectors[i * d + k]! * values[k]! * vectors[j * d + k]!;
        expect(rebuilt).toBeCloseTo(matrix[i * d + j]!, 11);
      }
    }
  });
});

describe("diversity", () => {
  it("is the mean root-mean-square distance inside each prompt", () => {
    const rgb = Float32Array.from([0, 0, 1, 1, 0.5, 0.5, 0.5, 0.5]);
    expect(pairwiseDiversity(rgb, 2, 2)).toEqual({ mean: 0.5, standardError: 0.5, count: 2 });
    const three = Float32Array.from([0, 1, 3]);
    expect(pairwiseDiversity(three, 1, 3).mean).toBeCloseTo(2, 12);
  });

  it("needs two pictures for each prompt", () => {
    expect(() => pairwiseDiversity(new Float32Array(4), 4, 1)).toThrow(ShapeError);
    expect(() => pairwiseDiversity(new Float32Array(5), 2, 2)).toThrow(ShapeError);
    expect(() => pairwiseDiversity(new Float32Array(), 2, 2)).toThrow(ShapeError);
  });
});

it("aggregates have the sample deviation's standard error", () => {
  expect(aggregate([1, 2, 3, 4])).toEqual({ mean: 2.5, standardError: Math.sqrt(5 / 3 / 4), count: 4 });
  expect(aggregate([7])).toEqual({ mean: 7, standardError: 0, count: 1 });
  expect(aggregateParts([])).toEqual({});
});
